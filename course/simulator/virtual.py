"""A driver that runs a cluster on a virtual clock, one event per step."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Protocol

from course.errors import UserError
from course.metrics.record import Recorder
from course.serving.actions import Action, RunBatch, SequenceEnded, StartTransfer, WakeAt
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster
from course.workload.request import Request, Workload


class CostModel(Protocol):
    """How long things take."""

    def batch_s(self, batch: Batch) -> float:
        """Seconds that a step takes on its instance."""
        ...


class VirtualDriver:
    """Serves a workload on a cluster without a model: a step takes as long as the cost model says.

    ``transfer_s_per_block`` is the time to move one KV block between instances; ``after_event`` is called after each
    instant (the tests check integrity there).
    """

    def __init__(
        self,
        cluster: Cluster,
        cost: CostModel,
        *,
        transfer_s_per_block: float = 0.0,
        after_event: Callable[[float], None] = lambda now_s: None,
    ) -> None:
        self.cluster = cluster
        self.cost = cost
        self.transfer_s_per_block = transfer_s_per_block
        self.after_event = after_event
        self.recorder = Recorder()
        self._output_lengths: dict[int, int] = {}
        self._events: list[tuple[float, int, Callable[..., list[Action]], tuple[Any, ...]]] = []
        self._num_events = 0

    def at(self, time_s: float, handler: Callable[..., list[Action]], *arguments: Any) -> None:
        """Call ``handler(*arguments, now_s)`` at ``time_s``: ``driver.at(3.0, cluster.on_cancel, 7)``."""
        heapq.heappush(self._events, (time_s, self._num_events, handler, arguments))
        self._num_events += 1

    def run(self, workload: Workload) -> Recorder:
        """Serve everything. Raises StalledError if a scheduler leaves sequences waiting for ever."""
        self._check_block_size(workload)
        self._output_lengths = workload.output_lengths
        for request in workload.requests:
            self.at(request.arrival_s, self._arrive, request)
        while self._events:
            now_s = self._events[0][0]
            actions: list[Action] = []
            while self._events and self._events[0][0] == now_s:  # everything of one instant, then decide once
                _, _, handler, arguments = heapq.heappop(self._events)
                actions += handler(*arguments, now_s)
            for action in actions + self.cluster.decide(now_s):
                self._carry_out(action, now_s)
            self.after_event(now_s)
        self.cluster.check_not_stalled()
        return self.recorder

    def _check_block_size(self, workload: Workload) -> None:
        for instance in self.cluster.instances.values():
            pool = instance.memory.pool
            if pool.prefix_cache and workload.block_size and workload.block_size != pool.block_size:
                raise UserError(
                    f"instance {instance.id} has blocks of {pool.block_size} tokens but the workload's prefix hashes "
                    f"stand for blocks of {workload.block_size}: build one of them anew, or turn the prefix cache off"
                )

    def _arrive(self, request: Request, now_s: float) -> list[Action]:
        self.recorder.on_arrival(request)
        return self.cluster.on_arrival(request, now_s)

    def _carry_out(self, action: Action, now_s: float) -> None:
        match action:
            case RunBatch(batch):
                self.at(now_s + self.cost.batch_s(batch), self._finish_batch, batch)
            case StartTransfer(transfer):
                seconds = self.transfer_s_per_block * len(transfer.source_blocks)
                self.at(now_s + seconds, self.cluster.on_transfer_done, transfer.id)
            case WakeAt(time_s):
                self.at(time_s, self.cluster.on_timer)
            case SequenceEnded(sequence, reason):
                self.recorder.record(*sequence.id).num_preemptions = sequence.num_preemptions
                self.recorder.on_end(sequence.request.id, now_s, sequence.state.value, sequence.sample, reason)

    def _finish_batch(self, batch: Batch, now_s: float) -> list[Action]:
        instance = self.cluster.instances.get(batch.instance_id)
        if instance is None or instance.in_flight is not batch:
            return []  # the instance was lost while the batch ran
        sampled = [s for chunk in batch.chunks for s in chunk.samples if not s.is_ended]
        for sequence in sampled:
            self.recorder.on_token(sequence.request.id, now_s, sequence.sample)
        results = [
            TokenResult(s, finished=s.num_output_tokens + 1 >= self._output_lengths[s.request.id]) for s in sampled
        ]
        return self.cluster.on_batch_done(batch.instance_id, results, now_s)
