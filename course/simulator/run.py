"""A run: steps of one batch whose times follow one formula."""

from __future__ import annotations

from math import sqrt
from typing import Protocol

from course.serving.batch import Batch


class CostModel(Protocol):
    """How long steps take, in seconds."""

    def batch_s(self, batch: Batch) -> float:
        """One step."""
        ...

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """Successive steps of a batch that only decodes, as (first, growth): step i takes first + i * growth."""
        ...


class StagedCostModel(CostModel, Protocol):
    """The same for an instance whose layers are spread over a pipeline."""

    def batch_stage_s(self, batch: Batch) -> float:
        """How long the batch takes in one stage, the first; `batch_s` is all of them, without waiting."""
        ...


class Run:
    """Steps of one instance. Step k, counted from 1, ends at ``time_s(k)``; ``done`` are over, ``end`` are planned."""

    __slots__ = ("batch", "done", "end", "end_s", "first_s", "growth_s", "next_s", "only_decodes", "origin_s")

    def __init__(
        self, batch: Batch, origin_s: float, first_s: float, growth_s: float = 0.0, only_decodes: bool = False
    ) -> None:
        self.batch = batch
        self.only_decodes = only_decodes
        self.origin_s = origin_s
        self.first_s = first_s
        self.growth_s = growth_s
        self.done = 0
        self.end = 0
        self.end_s = 0.0  # when the step ``end`` ends
        self.next_s = 0.0  # before that no further step ends

    def continues_as(self, batch: Batch, now_s: float) -> bool:
        """Whether a batch that only decodes is the next step of this series: the same sequences, without a pause."""
        return (
            self.end_s == now_s
            and self.only_decodes
            and self.end == self.done
            and self.batch.decodes == batch.decodes
            and self.batch.ticks is batch.ticks
        )

    def time_s(self, step: int) -> float:
        """When that step ends."""
        return self.origin_s + step * self.first_s + (step * (step - 1) // 2) * self.growth_s

    def last_step_by(self, now_s: float) -> int:
        """The last step from ``done`` to ``end`` that is over by now. Notes when the one after it ends."""
        if now_s < self.next_s:
            return self.done
        step = self._estimate(now_s - self.origin_s)
        step = min(max(step, self.done), self.end)
        while (next_s := self.time_s(step + 1)) <= now_s and step < self.end:
            step += 1
        while step > self.done and (time_s := self.time_s(step)) > now_s:
            step, next_s = step - 1, time_s
        self.next_s = next_s
        return step

    def _estimate(self, passed_s: float) -> int:
        if self.growth_s == 0.0:
            return int(passed_s / self.first_s) if self.first_s else self.end
        b = self.first_s - self.growth_s / 2
        return int((sqrt(b * b + 2 * self.growth_s * passed_s) - b) / self.growth_s)
