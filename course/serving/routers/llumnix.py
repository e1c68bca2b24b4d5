"""Live migration between instances by their freeness (Llumnix, OSDI'24)."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as List
from dataclasses import dataclass

from course.serving.instance import Instance
from course.serving.mover import Move, Mover
from course.serving.parameters import check_not_negative
from course.serving.sequence import Sequence


@dataclass(eq=False)
class Llumnix(Mover):
    """Arrivals go to the freest instance; every ``interval_s`` the least free ones hand an answer to the freest.

    *Freeness* is for how many steps the free memory lasts: free tokens, less what the head of the queue needs and
    ``headroom_tokens`` for each running request with priority above 0, divided by the sequences that run. An instance
    below ``migrate_below`` steps is a source. The least free is paired with the freest, the next with the next; a
    pair moves the shortest of the answers without priority if that brings the two nearer to each other and nobody waits
    at the target.

    So load is evened out after the fact, room is made in one piece for a long prompt that waits, and requests with
    priority keep theirs. Each move costs a copy of its keys and values, which decoding hardly notices. The thresholds
    are ours; the form of freeness, the pairing and the choice of the shortest are the published code's.
    """

    interval_s: float | None = 0.1
    migrate_below: float = 64.0
    headroom_tokens: int = 0

    def __post_init__(self) -> None:
        check_not_negative(migrate_below=self.migrate_below, headroom_tokens=self.headroom_tokens)
        if self.interval_s is not None:
            check_not_negative(interval_s=self.interval_s)

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The freest candidate."""
        return max(candidates, key=lambda i: (self.freeness(i), -i.id))

    def freeness(self, instance: Instance, num_more: int = 0, more_tokens: int = 0) -> float:
        """Decode steps for which memory lasts, if ``num_more`` sequences with ``more_tokens`` ran there as well."""
        pool = instance.memory.pool
        free = pool.num_free_blocks * pool.block_size - more_tokens
        if head := next(iter(instance.waiting), None):
            free -= head.num_known_tokens
        if self.headroom_tokens:
            free -= self.headroom_tokens * sum(s.request.priority > 0 for s in instance.running)
        return free / max(1, len(instance.running) + num_more)

    def rebalance(self, instances: List[Instance], now_s: float) -> Iterator[Move]:
        """One answer from each instance that is not free enough, as long as that evens out."""
        order = sorted(instances, key=self.freeness)
        for source, target in zip(order[: len(order) // 2], reversed(order), strict=False):
            if self.freeness(source) >= self.migrate_below:
                return
            movable = [s for s in source.decoding if s.request.priority <= 0]
            if movable and not target.waiting:
                sequence = min(movable, key=lambda s: (s.num_known_tokens, -s.rank, s.sample))
                if self._evens_out(sequence, source, target):
                    yield Move(sequence, target, live=True)

    def _evens_out(self, sequence: Sequence, source: Instance, target: Instance) -> bool:
        size = source.memory.pool.block_size
        tokens = -(-sequence.num_known_tokens // size) * size
        before = self.freeness(target) - self.freeness(source)
        after = self.freeness(target, 1, tokens) - self.freeness(source, -1, -tokens)
        return 0 <= after < before
