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
