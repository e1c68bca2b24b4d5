"""What routers count."""

from __future__ import annotations

from course.serving.instance import Instance
from course.serving.sequence import Sequence


def num_sequences(instance: Instance) -> int:
    """Sequences that wait or run there or are on their way."""
    return len(instance.waiting) + len(instance.running) + len(instance.reserved)


def num_pending_tokens(instance: Instance) -> int:
    """Tokens still to compute there before everybody who came has a first token."""
    pending = sum([s.num_known_tokens - s.num_computed_tokens for s in instance.waiting])
    if len(instance.running) > len(instance.decoding):
        for sequence in instance.running:
            if sequence not in instance.decoding:
                pending += sequence.num_known_tokens - sequence.num_computed_tokens
    return pending


def num_cached_tokens(instance: Instance, sequence: Sequence) -> int:
    """Tokens of the sequence that would be found in the instance's prefix cache now."""
    return len(instance.memory.cached_prefix(sequence)) * instance.memory.pool.block_size
