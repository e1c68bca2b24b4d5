"""What is kept of every move of keys and values."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

NUM_KEPT = 5_000
"""Moves that are remembered one by one; older ones are in the sums only."""


@dataclass(slots=True)
class TransferRecord:
    """One move. Times are seconds on the engine's clock.

    ``copy_s`` is the time that the carrier copied; ``throttle_s`` what a slower link would have taken beyond that. The
    rest of ``end_s - start_s`` is messages, and waiting for layers that were not yet computed. ``arrived`` has one pair
    (time, blocks at the target) for each piece. ``outcome`` is "done", "failed" or "stopped".
    """

    request_id: int
    sample: int
    source: int
    target: int
    source_blocks: list[int]
    target_blocks: list[int]
    num_bytes: int
    start_s: float
    attempt: int = 1
    end_s: float | None = None
    copy_s: float = 0.0
    throttle_s: float = 0.0
    outcome: str = ""
    arrived: list[tuple[float, int]] = field(default_factory=list)

    @property
    def num_blocks(self) -> int:
        """Blocks that move."""
        return len(self.source_blocks)


@dataclass(slots=True)
class TransferTotals:
    """All moves that came to their end, and the last of them one by one."""

    num_done: int = 0
    num_failed: int = 0
    num_bytes: int = 0
    copy_s: float = 0.0
    throttle_s: float = 0.0
    records: deque[TransferRecord] = field(default_factory=lambda: deque(maxlen=NUM_KEPT))

    def add(self, record: TransferRecord) -> None:
        """A move has ended."""
        self.records.append(record)
        if record.outcome != "done":
            self.num_failed += 1
            return
        self.num_done += 1
        self.num_bytes += record.num_bytes
        self.copy_s += record.copy_s
        self.throttle_s += record.throttle_s
