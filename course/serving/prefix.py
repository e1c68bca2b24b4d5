"""Chained hashes that name the content of KV blocks.

The keys and values of a block depend on every token before it, so its name must too: the hash
of a block covers the hash of its predecessor. Two prompts agree up to block i exactly when
their i-th hashes agree (vLLM's automatic prefix caching; SGLang's radix tree finds the same).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b


def chained_hash(parent: int, tokens: Sequence[int]) -> int:
    """Hash of one full block, given the hash of the block before it (0 for the first)."""
    digest = blake2b(parent.to_bytes(8, "little") + array("q", tokens).tobytes(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def block_hashes(tokens: Sequence[int], block_size: int) -> tuple[int, ...]:
    """Chained hashes of all full blocks of ``tokens``; a last partial block has none."""
    hashes: list[int] = []
    parent = 0
    for start in range(0, len(tokens) - block_size + 1, block_size):
        parent = chained_hash(parent, tokens[start : start + block_size])
        hashes.append(parent)
    return tuple(hashes)
