"""One definition of an exercise: from it come the stub, the reference, the judgement and the nudges.

@define("kv_cache.kv_bytes", points=2)
def kv_bytes(...): ...                      # the reference; the learner sees signature and docstring

@kv_bytes.check(hint="…")                   # random inputs, small first; expected results by a slow way
def counts_every_value(rng): ...

kv_bytes.mistake("forgets V", replace=[("2 * ", "")], caught_by=counts_every_value, nudge="…")
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from course.exercises import source
from course.exercises.build import build
from course.exercises.cases import Case, Cases

PLAIN = (
    "import math",
    "from collections.abc import Callable, Iterable, Sequence",
    "from dataclasses import dataclass, field",
    "import numpy as np",
)
TORCH = (*PLAIN, "import torch", "from torch import Tensor")

CheckFunction = Callable[[np.random.Generator], Cases | Case]
Picture = Callable[[Any, Any], Any]
"""From (expected, got) a plotly figure, or SVG as text."""

Grant = str | Callable[..., Any]
LONGEST_S = 5.0


@dataclass
class Check:
    """One demand on an answer, on random inputs."""

    name: str
    cases: CheckFunction
    hint: str
    hidden: bool
    picture: Picture | None

    @property
    def title(self) -> str:
        """Its name in words."""
        return self.name.replace("_", " ")


@dataclass
class Mistake:
    """A plausible misconception as code, with the nudge for whoever's answers are the same."""

    name: str
    text: str
    target: str
    nudge: str
    caught_by: str

    @property
    def is_endless(self) -> bool:
        """Whether it never ends, as its name says: it costs all the time that the exercise allows."""
        return "endless" in self.name


@dataclass(eq=False)
class Exercise:
    """What ``define`` makes. Called, it is its reference."""

    id: str
    points: int
    stub: str
    is_class: bool
    grants: tuple[str, ...]
    through: str
    through_name: str
    seconds: float
    memory_mb: int
    is_lab: bool
    hidden_checks: int
    builds_on: tuple[Exercise, ...]
    signature: inspect.Signature | None
    """Of what a check calls: the function or class, or the arguments that ``through`` takes for it."""
    reference_text: str | None = None
    checks: list[Check] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    alternatives: list[str] = field(default_factory=list)
    _made: tuple[str, Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the reference."""
        return self.reference(*args, **kwargs)

    @property
    def reference(self) -> Any:
        """The reference as an object, made of its text with what is granted; None in a student's copy of a lab."""
        text = self.reference_text
        if text is None:
            return None
        if self._made is None or self._made[0] != text:
            self._made = text, build(self, text, lambda below: below.reference)
        return self._made[1]

    @property
    def lesson(self) -> str:
        """The part of its id before the point."""
        return self.id.split(".")[0]

    @property
    def name(self) -> str:
        """The name of the function or class."""
        return self.id.split(".")[1]

    @property
    def stub_cell(self) -> str:
        """The cell of the student's notebook."""
        return f'@exercise("{self.id}")\n{self.stub}'

    @property
    def solution_cell(self) -> str:
        """The cell of the solution edition."""
        if self.reference_text is None:
            raise ValueError(f"{self.id} has no reference here")
        text = self.reference_text
        return f'@exercise("{self.id}")\n{source.solved(self.stub, text) if self.is_lab else source.solution_of(text)}'

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of its parameters; of a class, those of its constructor."""
        return tuple(self.signature.parameters) if self.signature else ()

    def check(
        self, *, hint: str = "", hidden: bool = False, picture: Picture | None = None
    ) -> Callable[[CheckFunction], Check]:
        """Add a check: a generator of cases from a random generator, small inputs first."""

        def add(function: CheckFunction) -> Check:
            check = Check(function.__name__, function, hint, hidden, picture)
            if any(other.name == check.name for other in self.checks):
                raise ValueError(f"{self.id} has two checks named {check.name}")
            self.checks.append(check)
            return check

        return add

    def mistake(
        self,
        name: str,
        *,
        caught_by: Check,
        nudge: str,
        replace: Sequence[tuple[str, str]] = (),
        text: str = "",
    ) -> Callable[[Any], Any]:
        """Plant a misconception: by changes to the reference's text, by a text, or as a decorator of a function."""

        if name in {mistake.name for mistake in self.mistakes}:
            raise ValueError(f"{self.id} has two mistakes of the name {name!r}")

        def add(code: str, target: str) -> None:
            self.mistakes.append(Mistake(name, code, target, nudge, caught_by.name))

        def decorate(wrong: Any) -> Any:
            add(text_of(wrong), wrong.__name__)
            return wrong

        if replace:
            if self.reference_text is None:
                raise ValueError(f"{self.id} has no reference to change: plant {name!r} beside the solution")
            add(source.edited(self.reference_text, tuple(replace)), self.name)
        elif text:
            add(text, self.name)
        return decorate

    def alternative(self, text: str) -> None:
        """Add a second correct solution, written differently."""
        self.alternatives.append(text)

    def solution(self, reference: Any) -> Any:
        """Give a lab's exercise its reference (a decorator, used in the lab's ``solutions.py``)."""
        self.reference_text = text_of(reference)
        return self

    @property
    def fingerprint(self) -> str:
        """Changes when what is asked for or how it is judged changes."""
        parts = [self.id, self.stub, *self.grants, self.through]
        parts += [inspect.getsource(check.cases) for check in self.checks if not check.hidden]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def define(
    exercise_id: str,
    *,
    points: int = 1,
    grants: Sequence[Grant] = PLAIN,
    through: Callable[..., Any] | None = None,
    seconds: float = 2.0,
    memory_mb: int = 512,
    lab: bool = False,
    hidden_checks: int = 0,
    builds_on: Sequence[Exercise] = (),
) -> Callable[[Any], Exercise]:
    """Make an exercise of a reference function or class.

    ``grants``: import lines, and functions (their text is shipped), that a cell may use without importing them.
    ``through``: a function ``(learner, *args)`` that runs in the child between the call and the learner's object, for
    inputs or answers that are not plain data; it does its own imports. ``seconds``: processor time for all checks.
    ``builds_on``: earlier exercises whose functions a cell may call; they run before it, the learner's version if there
    is one (in a lesson: if it passes).
    In a lab the decorated thing is the stub itself, and its ``solutions.py`` gives the reference.
    """
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(f"{exercise_id}: seconds must be at most {LONGEST_S}, so that a verdict never takes over 10 s")

    def make(reference: Any) -> Exercise:
        if exercise_id.count(".") != 1 or exercise_id.split(".")[1] != reference.__name__:
            raise ValueError(f"{exercise_id}: an id is the lesson, a point, and the name {reference.__name__}")
        text = text_of(reference)
        exercise = Exercise(
            id=exercise_id,
            points=points,
            stub=text if lab else source.stub_of(text),
            is_class=isinstance(reference, type),
            grants=tuple(grant if isinstance(grant, str) else text_of(grant) for grant in grants),
            through=text_of(through) if through else "",
            through_name=through.__name__ if through else "",
            seconds=seconds,
            memory_mb=memory_mb,
            is_lab=lab,
            hidden_checks=hidden_checks,
            builds_on=tuple(builds_on),
            signature=signature_of(reference) if through is None else without_learner(signature_of(through)),
        )
        if not lab:
            exercise.reference_text = text
        return exercise

    return make


def text_of(thing: Any) -> str:
    """The text of a function or class, without decorators."""
    return source.bare(inspect.getsource(thing))


def without_learner(signature: inspect.Signature | None) -> inspect.Signature | None:
    """What a check hands to a ``through`` function: all but the first."""
    return signature and signature.replace(parameters=list(signature.parameters.values())[1:])


def signature_of(thing: Any) -> inspect.Signature | None:
    """Its parameters, where they can be told."""
    try:
        return inspect.signature(thing)
    except (TypeError, ValueError):
        return None
