"""Not in a student's copy."""

from __future__ import annotations

from lab9_cache import exercises, hidden


@exercises.append.solution
def append(cache: list[float], value: float) -> None:
    """Append `value` to `cache` in place."""
    cache.append(value)


@exercises.total.solution
def total(cache: list[float]) -> float:
    """The sum of the cache."""
    return sum(cache)


exercises.append.mistake(
    "stops at ten",
    replace=[("cache.append(value)", "cache.append(value) if len(cache) < 10 else None")],
    caught_by=hidden.grows_without_limit,
    nudge="Why would it stop?",
)


@exercises.append_all.solution
def append_all(cache: list[float], values: list[float]) -> float:
    """Append each of `values` with `append`, and return the length of the cache, which is a copy."""
    cache = list(cache)
    for value in values:
        append(cache, value)
    return len(cache)
