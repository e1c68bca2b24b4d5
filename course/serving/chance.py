"""Draws that depend on nothing but what is being drawn for: the same request gets the same draw in every run."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def draw(num_choices: int, seed: int, *about: int) -> int:
    """A number from 0 to ``num_choices`` - 1, equally likely, fixed by ``seed`` and ``about``.

    A generator that keeps a state would give another answer as soon as one more request were routed before this one.
    The mixing function is SplitMix64's (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
    """
    state = 0
    for number in (seed, *about):
        state = (state ^ number) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state * num_choices >> 64
