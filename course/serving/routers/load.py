"""What routers count."""

from __future__ import annotations

from course.serving.instance import Instance
from course.serving.sequence import Sequence


def num_sequences(instance: Instance) -> int:
    """Sequences that wait or run there or are on their way."""
    return len(instance.waiting) + len(instance.running) + len(instance.reserved)


def num_cached_tokens(instance: Instance, sequence: Sequence) -> int:
    """Tokens of the sequence that would be found in the instance's prefix cache now."""
    return len(instance.memory.cached_prefix(sequence)) * instance.memory.pool.block_size
