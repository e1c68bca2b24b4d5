"""What a check says: make this call, expect that. Written so that a check reads like prose.

    yield call(3, block_size=2).returns(2)
    yield call([]).raises(ValueError)
    pool = new(num_blocks=4)
    first = yield pool.call("allocate", 3)
    expect(len(set(first)) == 3, "`allocate` must give different blocks")

Each ``yield`` makes one call in the child and gives its answer back, so a check may go on with what it got.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Self

from course.exercises.compare import Tolerance

_numbers = itertools.count(1)
NOTHING: Any = object()


class WrongError(Exception):
    """Raised by ``expect``: the answers so far break a rule."""


def expect(holds: object, sentence: str) -> None:
    """Demand something of the answers so far; the sentence tells the learner which rule was broken."""
    if not holds:
        raise WrongError(sentence)


@dataclass
class Case:
    """One call and what is demanded of its answer."""

    request: dict[str, Any]
    instance: Instance | None = None
    expected: Any = NOTHING
    tolerance: Tolerance | None = None
    tests: list[tuple[Callable[[Any], object], str]] = field(default_factory=list)
    error: type[BaseException] | None = None
    changed: dict[int | str, Any] = field(default_factory=dict)
    may_change: bool = False
    is_new: bool = False

    def returns(self, expected: Any, *, rtol: float | None = None, atol: float | None = None) -> Self:
        """Demand this answer, numbers within a tolerance (1e-6; single precision arrays 1e-4)."""
        self.expected = expected
        if rtol is not None or atol is not None:
            self.tolerance = Tolerance(rtol or 0.0, atol or 0.0)
        return self

    def satisfies(self, test: Callable[[Any], object], sentence: str) -> Self:
        """Demand that the test holds for the answer; the sentence tells the learner what is demanded."""
        self.tests.append((test, sentence))
        return self

    def raises(self, error: type[BaseException]) -> Self:
        """Demand this exception (or one derived from it)."""
        self.error = error
        return self

    def changes(self, argument: int | str, to: Any) -> Self:
        """Demand that an argument (its place, or its keyword) is changed in place to this; no other may change."""
        self.changed[argument] = to
        return self

    def gives_a_new_list(self) -> Self:
        """Demand that the answer is no list that was handed in: the caller goes on to change one of the two."""
        self.is_new = True
        return self

    def leaves_arguments_open(self) -> Self:
        """Allow any argument to be changed in place."""
        self.may_change = True
        return self


@dataclass
class Instance:
    """An object of the learner's class, living in the child; made when first called."""

    request: dict[str, Any]

    def call(self, method: str, *args: Any, **kwargs: Any) -> Case:
        """Call one of its methods."""
        return Case({"do": "method", "id": self.request["id"], "name": method, "args": args, "kwargs": kwargs}, self)

    def get(self, attribute: str) -> Case:
        """Read one of its attributes."""
        return Case({"do": "get", "id": self.request["id"], "name": attribute}, self)


def call(*args: Any, **kwargs: Any) -> Case:
    """Call the learner's function."""
    return Case({"do": "call", "args": args, "kwargs": kwargs})


def new(*args: Any, **kwargs: Any) -> Instance:
    """Make an object of the learner's class."""
    return Instance({"do": "new", "id": next(_numbers), "args": args, "kwargs": kwargs})


Cases = Generator[Case, Any, None]
"""What a check returns: annotate it so."""


def tensor(rng: Any, *shape: int) -> Any:
    """Random normal numbers as a torch tensor of single precision."""
    import torch

    return torch.tensor(rng.standard_normal(shape), dtype=torch.float32)
