"""The time that swapped blocks take between a device and its host, on top of any cost model."""

from __future__ import annotations

from dataclasses import dataclass

from course.serving.batch import Batch
from course.simulator.links import Link
from course.simulator.parallel import Split
from course.simulator.run import StagedCostModel


@dataclass(frozen=True, slots=True)
class WithSwaps:
    """``cost``, and ``block_s`` for each block that a step swaps out or in, before its forward pass (vLLM's order)."""

    cost: StagedCostModel
    block_s: float

    def batch_s(self, batch: Batch) -> float:
        """One step."""
        seconds = self.cost.batch_s(batch)
        if batch.swap_out or batch.swap_in:
            seconds += self.block_s * (len(batch.swap_out) + len(batch.swap_in))
        return seconds

    def batch_stage_s(self, batch: Batch) -> float:
        """The first stage; every stage swaps its own layers' share at the same time."""
        seconds = self.cost.batch_stage_s(batch)
        if batch.swap_out or batch.swap_in:
            seconds += self.block_s * (len(batch.swap_out) + len(batch.swap_in))
        return seconds

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """A batch that only decodes swaps nothing."""
        return self.cost.decode_series_s(batch)


def swap_block_s(split: Split, link: Link, block_size: int) -> float:
    """Seconds per block of ``block_size`` tokens: every accelerator moves its share over a link of its own.

    Bandwidth alone: the blocks of a step go in one piece, whose latency a step of milliseconds does not notice.
    """
    largest = max(split.kv_bytes_per_token(stage) for stage in range(split.pp))
    return block_size * largest / link.bandwidth_bytes_s
