"""A 64-bit hash that gives the same numbers on every machine.

Not for secrets: it names blocks of tokens and draws tokens from those names.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def mix(value: int) -> int:
    """Scramble 64 bits (the finaliser of splitmix64: Steele, Lea, Flood, OOPSLA'14)."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def mix_array(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply ``mix`` to every element; uint64 arithmetic wraps around, as wanted."""
    values = values + np.uint64(_GOLDEN)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))


def chain(parent: int, content: int) -> int:
    """Hash of a block that follows ``parent`` and holds ``content`` (any whole number)."""
    return mix(mix(parent) ^ (content & _MASK))


def chain_all(contents: list[int]) -> tuple[int, ...]:
    """Chained hashes of a list of block contents: equal only if all before are equal too."""
    hashes: list[int] = []
    parent = 0
    for content in contents:
        parent = chain(parent, content)
        hashes.append(parent)
    return tuple(hashes)
