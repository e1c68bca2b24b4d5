"""The instance that has the most of a prompt in its cache, unless it is too busy."""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass

from course.serving.instance import Instance
from course.serving.parameters import check_not_negative
from course.serving.routers.load import num_cached_tokens, num_sequences
from course.serving.sequence import Sequence


@dataclass(frozen=True)
class PrefixAware:
    """Fewest tokens to compute before the first token: those of the prompt that are not cached there, and
    ``queue_weight`` times those that wait there already. Then fewest sequences, then the lowest id.

    With weight 1 this is Mooncake's choice by queue and prefill time, counted in tokens and without fetching prefixes
    from elsewhere (FAST'25, algorithm 1). With weight 0 the longest cached prefix wins whatever the load, and a popular
    prefix makes a hot spot.
    """

    queue_weight: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(queue_weight=self.queue_weight)

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The candidate with the least to compute first."""
        return min(candidates, key=lambda i: (self.score(i, sequence), num_sequences(i), i.id))

    def score(self, instance: Instance, sequence: Sequence) -> float:
        """Tokens to compute before the sequence's first token, the waiting ones weighted; lower is better."""
        uncached = sequence.num_known_tokens - num_cached_tokens(instance, sequence)
        return uncached + self.queue_weight * instance.num_pending_tokens
