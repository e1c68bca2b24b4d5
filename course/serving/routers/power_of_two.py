"""The better of two instances drawn at random."""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass

from course.serving.chance import draw
from course.serving.instance import Instance
from course.serving.routers.load import num_sequences
from course.serving.sequence import Sequence


@dataclass(frozen=True)
class PowerOfTwo:
    """Of two candidates drawn at random, the one with fewer sequences.

    Nearly as even as looking at all of them, at a cost that does not grow with their number, and without everybody
    running to the same one while loads are known late (Mitzenmacher, "The power of two choices in randomized load
    balancing", 2001). The draw depends on ``seed`` and the request alone.
    """

    seed: int = 0

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The less loaded of two."""
        return min(two_of(candidates, self.seed, sequence), key=lambda i: (num_sequences(i), i.id))


def two_of(candidates: List[Instance], seed: int, sequence: Sequence) -> List[Instance]:
    """Two different candidates, every pair equally likely; all of them where there are no more than two."""
    if len(candidates) <= 2:
        return candidates
    first = draw(len(candidates), seed, *sequence.id, 0)
    second = draw(len(candidates) - 1, seed, *sequence.id, 1)
    return [candidates[first], candidates[second + (second >= first)]]
