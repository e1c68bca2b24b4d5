"""What a control is, without saying how it is drawn.

``name`` is the parameter of the figure function that it sets, ``label`` what stands beside it, ``help`` what it says
when pointed at. ``value`` is where it stands at first, and where the static picture stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from course.errors import UserError


@dataclass(frozen=True, slots=True)
class Slider:
    """Values from ``low`` to ``high`` in equal steps; whole numbers if all of them are."""

    name: str
    label: str
    low: float
    high: float
    step: float
    value: float
    help: str = ""

    def accepts(self, value: Any) -> bool:
        """Whether the slider can stand there."""
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-9


@dataclass(frozen=True, slots=True)
class LogSlider:
    """Whole numbers from ``low`` to ``high``, each ``factor`` times the one before, the way lengths are compared."""

    name: str
    label: str
    low: int
    high: int
    value: int
    factor: int = 2
    help: str = ""

    @property
    def values(self) -> list[int]:
        """Where the slider can stand."""
        values = [self.low]
        while values[-1] * self.factor <= self.high:
            values.append(values[-1] * self.factor)
        return values

    def accepts(self, value: Any) -> bool:
        """Whether the slider can stand there."""
        return value in self.values


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several options; each is a plain value that is also shown."""

    name: str
    label: str
    options: Sequence[Any]
    value: Any
    help: str = ""

    def accepts(self, value: Any) -> bool:
        """Whether it is one of the options."""
        return value in self.options


@dataclass(frozen=True, slots=True)
class Toggle:
    """Yes or no."""

    name: str
    label: str
    value: bool
    help: str = ""

    def accepts(self, value: Any) -> bool:
        """Whether it is True or False."""
        return isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text; taken over when Enter is pressed or the field is left."""

    name: str
    label: str
    value: str
    help: str = ""

    def accepts(self, value: Any) -> bool:
        """Whether it is text."""
        return isinstance(value, str)


Control = Slider | LogSlider | Choice | Toggle | Text


def check(control: Control, value: Any) -> Any:
    """Return the value, or raise UserError naming the control that cannot stand there."""
    if not control.accepts(value):
        raise UserError(f"the control {control.name!r} cannot be set to {value!r}; it is {control}")
    return value
