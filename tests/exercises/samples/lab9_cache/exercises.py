"""A lab to test the machinery with: stubs and public checks only."""

from __future__ import annotations

import numpy as np

from course.exercises import Cases, call, define


@define("lab9.append", points=2, lab=True, hidden_checks=1)
def append(cache: list[float], value: float) -> None:
    """Append `value` to `cache` in place."""
    raise NotImplementedError


@append.check(hint="The cache itself must grow.")
def grows(rng: np.random.Generator) -> Cases:
    for size in (0, 3):
        cache = [float(n) for n in rng.random(size)]
        yield call(cache, 0.5).returns(None).changes(0, to=[*cache, 0.5])


@define("lab9.total", points=1, lab=True)
def total(cache: list[float]) -> float:
    """The sum of the cache."""
    raise NotImplementedError


@total.check()
def sums(rng: np.random.Generator) -> Cases:
    for size in (1, 4):
        cache = [float(n) for n in rng.random(size)]
        yield call(cache).returns(float(np.sum(cache)))


@define("lab9.append_all", points=2, lab=True, builds_on=(append,))
def append_all(cache: list[float], values: list[float]) -> float:
    """Append each of `values` with `append`, and return the length of the cache, which is a copy."""
    raise NotImplementedError


@append_all.check()
def uses_append(rng: np.random.Generator) -> Cases:
    for size in (0, 3):
        values = [float(n) for n in rng.random(size)]
        yield call([1.0], values).returns(1 + len(values))
