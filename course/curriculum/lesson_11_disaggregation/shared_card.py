"""Two workers on one card: whoever computes while the other does gets half of it."""

from __future__ import annotations

from typing import Any

from course.serving.actions import RunBatch
from course.serving.batch import Batch
from course.serving.cluster import Cluster
from course.simulator.run import CostModel
from course.simulator.virtual import VirtualDriver


class HalfSpeed:
    """A step that begins while the other worker computes takes twice as long.

    That is time slicing, seen from one step: what the workers compute together takes as long as it would alone. Exact
    where steps are short against what runs beside them; a card whose one phase leaves units idle does better.
    """

    def __init__(self, cost: CostModel, cluster: Cluster) -> None:
        self._cost = cost
        self._cluster = cluster

    def _slower(self, batch: Batch) -> int:
        others = (i for i in self._cluster.instances.values() if i.id != batch.instance_id)
        return 1 + sum(bool(other.in_flight) for other in others)

    def batch_s(self, batch: Batch) -> float:
        """One step."""
        return self._slower(batch) * self._cost.batch_s(batch)

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """One step; each is an event of its own here."""
        first_s, _ = self._cost.decode_series_s(batch)
        return self._slower(batch) * first_s, 0.0


class SharedCardDriver(VirtualDriver):
    """A virtual clock whose instances share one device."""

    def __init__(self, cluster: Cluster, cost: CostModel, **options: Any) -> None:
        super().__init__(cluster, HalfSpeed(cost, cluster), single_step=True, **options)

    def _start(self, action: RunBatch, now_s: float) -> None:
        self._lane_of(
            action.batch.instance_id
        ).run = None  # no step continues a series: the other may have come or gone
        super()._start(action, now_s)
