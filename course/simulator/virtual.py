"""The virtual clock: serves a workload on a cluster without a model.

A step takes as long as a cost model says. While the batch of an instance cannot change, its decode steps are one
event (contiguous iterations, as in Splitwise's simulator, ISCA'24): the plan says for how long it holds, the answer
lengths say when the next sequence ends, and whoever comes or goes meanwhile cuts the run short at the end of the step
under way. The times of all steps follow from one formula, so runs of many steps and of single steps agree to the bit.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from course.errors import UserError
from course.metrics.record import Recorder
from course.serving.actions import Action, CutShort, RunBatch, SequenceEnded, StartTransfer, WakeAt
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster
from course.serving.sequence import Sequence
from course.simulator.run import CostModel, Run
from course.workload.request import Request, Workload


class VirtualDriver:
    """Drives ``cluster`` by the events of a workload and the durations of ``cost``: one for all, or one per instance id.

    ``transfer_s_per_block`` is the time to move one KV block between instances; ``after_event`` is called after each
    instant (the tests check integrity there); ``single_step`` makes every step an event.
    """

    def __init__(
        self,
        cluster: Cluster,
        cost: CostModel | Mapping[int, CostModel],
        *,
        transfer_s_per_block: float = 0.0,
        after_event: Callable[[float], None] | None = None,
        single_step: bool = False,
    ) -> None:
        self.cluster = cluster
        self.cost = cost
        self.transfer_s_per_block = transfer_s_per_block
        self.after_event = after_event
        self.single_step = single_step
        self.recorder = Recorder()
        self.num_events = 0
        self._lengths: dict[int, int] = {}
        self._times_s: dict[Sequence, list[float]] = {}
        self._runs: dict[int, Run] = {}  # by instance; a finished run stays, for the next may continue its series
        self._events: list[tuple[float, int, int, Callable[..., list[Action]], tuple[Any, ...]]] = []
        self._num_pushed = 0

    def at(self, time_s: float, handler: Callable[..., list[Action]], *arguments: Any, rank: int = 1) -> None:
        """Call ``handler(*arguments, now_s)`` at ``time_s``: ``driver.at(3.0, cluster.on_cancel, 7)``.

        Of one instant, step ends (rank 0) come first, then the others in the order in which they were given.
        """
        heapq.heappush(self._events, (time_s, rank, self._num_pushed, handler, arguments))
        self._num_pushed += 1

    def run(self, workload: Workload) -> Recorder:
        """Serve everything. Raises StalledError if a scheduler leaves sequences waiting for ever."""
        self._check_block_size(workload)
        self._lengths = workload.output_lengths
        for request in workload.requests:
            self.at(request.arrival_s, self._arrive, request)
        events = self._events
        while events:
            now_s = events[0][0]
            self._carry_out(self._catch_up(now_s), now_s)
            while events and events[0][0] == now_s:  # everything of one instant, then decide once
                _, _, _, handler, arguments = heapq.heappop(events)
                self._carry_out(handler(*arguments, now_s), now_s)
                self.num_events += 1
                if not (events and events[0][0] == now_s):
                    self._carry_out(self.cluster.start_transfers(now_s), now_s)  # may take no time at all
            self._carry_out(self.cluster.decide(now_s), now_s)
            if self.after_event:
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

    def _carry_out(self, actions: list[Action], now_s: float) -> None:
        for action in actions:
            match action:
                case RunBatch(batch):
                    self._start(batch, now_s)
                case CutShort(instance_id):
                    self._end_after(self._runs[instance_id], 1)
                case StartTransfer(transfer):
                    seconds = self.transfer_s_per_block * len(transfer.source_blocks)
                    self.at(now_s + seconds, self.cluster.on_transfer_done, transfer.id)
                case WakeAt(time_s):
                    self.at(time_s, self.cluster.on_timer)
                case SequenceEnded(sequence, reason):
                    self._times_s.pop(sequence, None)
                    self.recorder.record(*sequence.id).num_preemptions = sequence.num_preemptions
                    self.recorder.on_end(sequence.request.id, now_s, sequence.state.value, sequence.sample, reason)

    # runs

    def _start(self, batch: Batch, now_s: float) -> None:
        run = self._runs.get(batch.instance_id)
        if run is None or not run.continues(batch, now_s):
            run = self._runs[batch.instance_id] = Run.of(batch, self._cost_of(batch.instance_id), now_s)
        run.batch = batch
        num_steps = 1
        if batch.holds > 1 and not self.single_step:
            first_end = min([self._lengths[s.request.id] - s.num_output_tokens for s in batch.decodes])
            num_steps = min(batch.holds, first_end)
        self._end_after(run, num_steps)

    def _cost_of(self, instance_id: int) -> CostModel:
        return self.cost[instance_id] if isinstance(self.cost, Mapping) else self.cost

    def _end_after(self, run: Run, num_steps: int) -> None:
        if run.end != run.done + num_steps:
            run.end = run.done + num_steps
            self.at(run.time_s(run.end), self._finish, run, run.end, rank=0)

    def _catch_up(self, now_s: float) -> list[Action]:
        """Before anything of this instant happens, count the steps that are done by now."""
        actions: list[Action] = []
        for run in self._runs.values():
            if run.end - run.done > 1 and self._is_current(run):
                step = run.last_step_by(now_s)
                if step < run.end and run.time_s(step) == now_s:
                    run.end = step
                    actions += self._finish(run, step, now_s)
                elif run.done < step < run.end:
                    self._note_tokens(run, step)
                    actions += self.cluster.on_batch_progress(run.batch.instance_id, step - run.done, now_s)
                    run.done = step
        return actions

    def _is_current(self, run: Run) -> bool:
        """Whether the instance still runs it: it may have been lost meanwhile, and be back."""
        instance = self.cluster.instances.get(run.batch.instance_id)
        return instance is not None and instance.in_flight is run.batch

    def _finish(self, run: Run, step: int, now_s: float) -> list[Action]:
        if run.end != step or run.done == step or not self._is_current(run):
            return []  # cut short or lost
        num_steps = step - run.done
        self._note_tokens(run, step)
        run.done = step
        lengths = self._lengths
        results = [
            TokenResult(s, finished=True)
            for s in run.batch.decodes
            if s.num_output_tokens + num_steps >= lengths[s.request.id]
        ]
        for chunk in run.batch.prompts:
            for s in chunk.samples:
                if not s.is_ended:
                    self._tokens_of(s).append(now_s)
                    results.append(TokenResult(s, finished=s.num_output_tokens + 1 >= lengths[s.request.id]))
        return self.cluster.on_batch_done(run.batch.instance_id, results, now_s, num_steps)

    def _note_tokens(self, run: Run, step: int) -> None:
        if run.batch.decodes:
            times_s = [run.time_s(k) for k in range(run.done + 1, step + 1)]
            for sequence in run.batch.decodes:
                if not sequence.is_ended:
                    self._tokens_of(sequence).extend(times_s)

    def _tokens_of(self, sequence: Sequence) -> list[float]:
        times_s = self._times_s.get(sequence)
        if times_s is None:
            times_s = self._times_s[sequence] = self.recorder.record(*sequence.id).token_times_s
        return times_s
