"""What the value of a key may be. Every mistake is one sentence that names the key and what would fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any, NamedTuple

from course.errors import UserError
from course.simulator.names import unknown_name


class Kind(NamedTuple):
    """``wants`` finishes the sentence "the key must be ..."; ``read`` gives the value, or raises ValueError."""

    wants: str
    read: Callable[[Any], Any]

    def value(self, key: str, given: Any) -> Any:
        """The value of a key as the experiment keeps it. Raises UserError when it does not fit."""
        try:
            return self.read(given)
        except ValueError:
            raise UserError(f"{key} must be {self.wants}, got {given!r}") from None


def key(kind: Kind, default: Any = MISSING) -> Any:
    """A dataclass field that a TOML key fills; without ``default`` it must be given."""
    return field(default=default, metadata={"kind": kind})


def whole(
    minimum: int = 1, maximum: int | None = None, *, or_words: tuple[str, ...] = (), or_inf: bool = False
) -> Kind:
    """A whole number; perhaps also one of some words, or infinity."""

    def read(given: Any) -> Any:
        if given in or_words or (or_inf and given == math.inf):
            return given
        if isinstance(given, float) and given.is_integer():  # 1e6
            given = int(given)
        if isinstance(given, bool) or not isinstance(given, int) or given < minimum:
            raise ValueError
        if maximum is not None and given > maximum:
            raise ValueError
        return given

    words = [f"{word!r}" for word in or_words] + ["inf"] * or_inf
    span = f"at least {minimum}" if maximum is None else f"{minimum} to {maximum}"
    return Kind(f"a whole number, {span}" + "".join(f", or {word}" for word in words), read)


def number(wants: str, low: float, high: float = math.inf, *, open_low: bool = False, finite: bool = False) -> Kind:
    """A number from ``low`` (exclusive if ``open_low``) to ``high``; ``finite``: not infinity."""

    def read(given: Any) -> float:
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise ValueError
        if not low <= given <= high or (open_low and given == low) or (finite and given == math.inf):
            raise ValueError
        return float(given)

    return Kind(wants, read)


def one_of(what: str, names: Callable[[], list[str]]) -> Kind:
    """One of some names, which are looked up when they are needed."""

    def read(given: Any) -> str:
        if given not in names():
            raise UserError(unknown_name(what, str(given), names()))
        return str(given)

    return Kind(f"the name of a {what}", read)


def _text(given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError
    return given


def _flag(given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError
    return given


def _numbers(given: Any) -> tuple[float, ...]:
    return tuple(POSITIVE_OR_ZERO.read(each) for each in _list(given))


def _list(given: Any) -> list[Any]:
    if not isinstance(given, list | tuple) or not given:
        raise ValueError
    return list(given)


def _table(given: Any) -> tuple[tuple[str, Any], ...]:
    if not isinstance(given, dict):
        raise ValueError
    return tuple(given.items())


TEXT = Kind("text in quotes", _text)
FLAG = Kind("true or false", _flag)
NUMBERS = Kind("a list of numbers, at least 0, such as [1, 3, 2]", _numbers)
TABLE = Kind("a table of parameters", _table)
COUNT = whole(1)
COUNT_OR_ZERO = whole(0)
MOST_REQUESTS = 100_000_000
"""More would fill the memory of the machine that simulates: a million take about 0.5 GB."""
MOST_INSTANCES = 4_096
"""Of one kind. Every choice of a router looks at all of them: more would make a run of hours."""
POSITIVE = number("a positive number", 0.0, open_low=True)
POSITIVE_OR_ZERO = number("a number, at least 0", 0.0, finite=True)
SECONDS = number("a positive number of seconds", 0.0, open_low=True)
SHARE = number("a share above 0 and up to 1", 0.0, 1.0, open_low=True)
CHANCE = number("a number from 0 to 1", 0.0, 1.0)
RATE = number("a positive number of requests per second", 0.0, open_low=True)
