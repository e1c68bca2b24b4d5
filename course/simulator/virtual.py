"""The virtual clock: serves a workload on a cluster without a model.

A step takes as long as a cost model says. While the batch of an instance cannot change, its decode steps are one
event (contiguous iterations, as in Splitwise's simulator, ISCA'24): the plan says for how long it holds, the answer
lengths say when the next sequence ends, and whoever comes or goes meanwhile cuts the run short at the end of the step
under way. The times of all steps follow from one formula, so runs of many steps and of single steps agree to the bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as List
from heapq import heappop, heappush
from itertools import count
from operator import attrgetter
from typing import Any, cast

from course.errors import UserError
from course.metrics.record import Outcome, Recorder, RequestRecord
from course.metrics.times import TokenTimes
from course.serving.actions import Action, CutShort, RunBatch, SequenceEnded, StartTransfer, StopTransfer, WakeAt
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster
from course.serving.mover import Mover
from course.serving.sequence import Sequence
from course.simulator.carrier import Carrier
from course.simulator.lane import Event, Lane
from course.simulator.network import Network
from course.simulator.run import CostModel, Run, StagedCostModel
from course.workload.request import Request, Workload

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}  # by the value of a state


class VirtualDriver:
    """Drives ``cluster`` by the events of a workload and the durations of ``cost``, one for all or one per instance id.

    Keys and values move over ``network``, so many bytes per token; without one, each KV block takes
    ``transfer_s_per_block``, whatever else is moving. ``after_event`` is called after each instant (the tests check
    integrity there); ``single_step`` makes every step an event.
    """

    def __init__(
        self,
        cluster: Cluster,
        cost: CostModel | Mapping[int, CostModel],
        *,
        network: Network | None = None,
        kv_bytes_per_token: float = 0.0,
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
        self.num_tokens_moved = 0  # whose keys and values went from one instance to another
        self._lengths: dict[int, int] = {}
        self._answering: dict[Sequence, RequestRecord] = {}  # those that have begun and not ended
        self.lanes: dict[int, Lane] = {}  # by instance id
        self._long: dict[Lane, None] = {}  # those with several steps before their next end
        self._events: list[Event] = []  # a heap
        self._at_once: deque[tuple[Callable[[Any, float], list[Action]], Any]] = deque()  # the last of this instant
        self._num_pushed = 0
        self._coming: Iterator[tuple[int, Request]] = iter(())
        self._carry: dict[type, Callable[[Any, float], None]] = {
            RunBatch: self._start,
            CutShort: self._cut_short,
            StartTransfer: self._transfer,
            SequenceEnded: self._end,
            WakeAt: self._wake_at,
        }
        # When a request arrives, nobody looks at instances with role "decode": they need not be up to date.
        self._may_be_blind = not (after_event or cluster.early_transfers or isinstance(cluster.router, Mover))
        self._carrier = Carrier(cluster, network, kv_bytes_per_token, self.at) if network else None
        if self._carrier:
            self._carry[StartTransfer] = self._carrier.start
            self._carry[StopTransfer] = self._carrier.stop

    def at(self, time_s: float, handler: Callable[..., list[Action]], *arguments: Any, rank: int = 1) -> Event:
        """Call ``handler(*arguments, now_s)`` at ``time_s``: ``driver.at(3.0, cluster.on_cancel, 7)``.

        Of one instant, step ends (rank 0) come first, then the others in the order in which they were given.
        """
        event = [time_s, rank, self._num_pushed, _call, (handler, arguments)]
        heappush(self._events, event)
        self._num_pushed += 1
        return event

    def run(self, workload: Workload) -> Recorder:
        """Serve everything. Raises StalledError if a scheduler leaves sequences waiting for ever."""
        self._check_block_size(workload)
        lengths = workload.output_lengths
        self._lengths = dict(zip(lengths, map(int, lengths.values()), strict=True))  # numpy's numbers, too
        self._let_arrive(workload.requests)
        events = self._events
        while events:
            if events[0][3] is None:
                heappop(events)
            else:
                self._play(events[0][0])
        self.cluster.check_not_stalled()
        return self.recorder

    def _play(self, now_s: float) -> None:
        """Everything of one instant, then decide once; again if something follows that takes no time."""
        events, at_once, cluster = self._events, self._at_once, self.cluster
        handovers = cluster.handovers
        is_blind = self._may_be_blind and type(events[0][4]) is Request and not handovers.waiting
        if self._long:
            self._catch_up(now_s, is_blind)
        while True:
            if events and events[0][0] == now_s:
                event = heappop(events)
                handler, subject = event[3], event[4]
                if handler is None:
                    continue
                if is_blind and type(subject) is not Request:
                    is_blind = False
                    heappush(events, event)
                    self._catch_up(now_s)
                    continue
            elif at_once:
                handler, subject = at_once.popleft()
            elif handovers.waiting and (actions := cluster.start_transfers(now_s)):
                self._carry_out(actions, now_s)
                continue
            else:
                if actions := cluster.decide(now_s):
                    self._carry_out(actions, now_s)
                if self.after_event:
                    self.after_event(now_s)
                if at_once:
                    continue
                return
            self.num_events += 1
            if actions := handler(subject, now_s):
                self._carry_out(actions, now_s)

    def _let_arrive(self, requests: List[Request]) -> None:
        """One arrival brings the next one with it, so that the heap holds no more than is going on."""
        self._coming = zip(count(self._num_pushed), sorted(requests, key=attrgetter("arrival_s")), strict=False)
        self._num_pushed += len(requests)
        self._expect_next()

    def _expect_next(self) -> None:
        for number, request in self._coming:
            heappush(self._events, [request.arrival_s, 1, number, self._arrive, request])
            return

    def _arrive(self, request: Request, now_s: float) -> list[Action]:
        self._expect_next()
        self.recorder.on_arrival(request)
        return self.cluster.on_arrival(request, now_s)

    def _check_block_size(self, workload: Workload) -> None:
        for instance in self.cluster.instances.values():
            pool = instance.memory.pool
            if pool.prefix_cache and workload.block_size and workload.block_size != pool.block_size:
                raise UserError(
                    f"instance {instance.id} has blocks of {pool.block_size} tokens but the workload's prefix hashes "
                    f"stand for blocks of {workload.block_size}: build one of them anew, or turn the prefix cache off"
                )

    # actions

    def _carry_out(self, actions: list[Action], now_s: float) -> None:
        for action in actions:
            if carry := self._carry.get(type(action)):
                carry(action, now_s)

    def _transfer(self, action: StartTransfer, now_s: float) -> None:
        transfer = action.transfer
        self.num_tokens_moved += transfer.sequence.num_computed_tokens
        if seconds := self.transfer_s_per_block * transfer.num_blocks:
            self.at(now_s + seconds, self.cluster.on_transfer_done, transfer.id)
        else:
            self._at_once.append((self.cluster.on_transfer_done, transfer.id))

    def _wake_at(self, action: WakeAt, now_s: float) -> None:
        self.at(action.time_s, self.cluster.on_timer)

    def _end(self, action: SequenceEnded, now_s: float) -> None:
        sequence, reason = action.sequence, action.reason
        if self._carrier:
            self._carrier.forget(sequence)
        if record := self._answering.pop(sequence, None):
            cast(TokenTimes, record.token_times_s).stop(sequence.num_output_tokens)
        else:
            record = self.recorder.record(*sequence.id)
        record.num_preemptions = sequence._num_preemptions
        record.outcome, record.end_s, record.error = _OUTCOMES[sequence._state._value_], now_s, reason

    # runs

    def _lane_of(self, instance_id: int) -> Lane:
        """What is kept of an instance: anew if it was lost and is back."""
        instance = self.cluster.instances[instance_id]
        lane = self.lanes.get(instance_id)
        if lane is None or lane.instance is not instance:
            cost = self.cost[instance_id] if isinstance(self.cost, Mapping) else self.cost
            lane = self.lanes[instance_id] = Lane(instance, cost)
        return lane

    def _start(self, action: RunBatch, now_s: float) -> None:
        batch = action.batch
        lane = self._lane_of(batch.instance_id)
        if batch.ticks:
            self._follow_all(batch, lane)
        if lane.instance.num_stages > 1:
            self._enter_pipeline(batch, lane, now_s)
            return
        run = lane.run
        if not batch.only_decodes:
            lane.run = Run(batch, now_s, lane.cost.batch_s(batch))
        elif run and run.continues_as(batch, now_s):
            run.batch = batch
        else:
            first_s, growth_s = lane.cost.decode_series_s(batch)
            lane.run = Run(batch, now_s, first_s, growth_s, only_decodes=True)
        lane.started_s = now_s
        if batch.holds > 1 and not self.single_step:
            num_steps = self._first_end(lane) - lane.log.num_steps
            self._end_after(lane, num_steps if num_steps < batch.holds else batch.holds)
            self._long[lane] = None
        else:
            self._end_after(lane, 1)

    def _follow_all(self, batch: Batch, lane: Lane) -> None:
        """Those who are new to the lane's clock, or went steps beside it, follow its log from now on."""
        if lane.beside:
            beside, lane.beside = lane.beside, {}
            for sequence in beside:
                if sequence._clock is lane.decoding:
                    self._follow(sequence, lane)
        for sequence in batch.fresh:
            self._follow(sequence, lane)

    def _follow(self, sequence: Sequence, lane: Lane) -> None:
        """From now on its tokens are those of the lane's steps, until it ends."""
        times_s = self._times_of(sequence)
        if times_s.is_open:
            times_s.stop(sequence.num_output_tokens)
        times_s.follow(lane.log)
        left = self._lengths[sequence._request.id] - len(times_s)
        heappush(lane.ends, (lane.log.num_steps + left, self._num_pushed, sequence))
        self._num_pushed += 1

    def _times_of(self, sequence: Sequence) -> TokenTimes:
        """When its tokens came out."""
        if record := self._answering.get(sequence):
            return cast(TokenTimes, record.token_times_s)
        record = self._answering[sequence] = self.recorder.record(sequence._request.id, sequence._sample)
        times_s = record.token_times_s = TokenTimes()
        return times_s

    def _first_end(self, lane: Lane) -> int:
        """The step at which the first of those that decode ends; who has left since is forgotten."""
        ends = lane.ends
        while not self._still_ends(ends[0], lane):
            heappop(ends)
        return ends[0][0]

    def _still_ends(self, end: tuple[int, int, Sequence], lane: Lane) -> bool:
        """Whether the sequence decodes on the lane's instance, and is as far as it was expected to be."""
        step, _, sequence = end
        return sequence._clock is lane.decoding and step == self._lengths[sequence._request.id] - sequence._num_output

    def _cut_short(self, action: CutShort, now_s: float) -> None:
        lane = self.lanes[action.instance_id]
        if (run := lane.run) and run.end > run.done + 1:
            self._end_after(lane, 1)
            del self._long[lane]

    def _end_after(self, lane: Lane, num_steps: int) -> None:
        """End the lane's run so many steps from here."""
        run = lane.run
        assert run
        run.end = run.done + num_steps
        run.end_s = end_s = run.time_s(run.end)
        if lane.end:
            lane.end[3] = None
        lane.end = [end_s, 0, self._num_pushed, self._finish, lane]
        heappush(self._events, lane.end)
        self._num_pushed += 1

    def _catch_up(self, now_s: float, is_blind: bool = False) -> None:
        """Before anything of this instant happens, count the steps that are done by now.

        Those of instances with role "decode" may wait if nobody looks at them (``is_blind``).
        """
        for lane in list(self._long):
            if is_blind and lane.instance.role == "decode":
                continue
            run = lane.run
            if run is None or now_s < run.next_s or run.end_s <= now_s or run.batch not in lane.instance.in_flight:
                continue
            if (num_steps := run.last_step_by(now_s) - run.done) > 0:
                if run.time_s(run.done + num_steps) == now_s:  # its end is an event of this instant
                    self._end_after(lane, num_steps)
                else:
                    if run.batch.ticks:
                        lane.log.add(run, run.done + 1, num_steps)
                    run.done += num_steps
                    lane.num_steps += num_steps
                    self.cluster.on_batch_progress(run.batch, num_steps, now_s)
                    if run.end == run.done + 1:
                        del self._long[lane]

    def _finish(self, lane: Lane, now_s: float) -> list[Action]:
        run = lane.run
        assert run
        batch = run.batch
        lane.end = None
        self._long.pop(lane, None)
        if batch not in lane.instance.in_flight:
            return []  # lost meanwhile
        num_steps = run.end - run.done
        results: list[TokenResult] = []
        if batch.ticks:
            ends, last = lane.ends, lane.log.num_steps + num_steps
            while ends and ends[0][0] <= last:
                end = heappop(ends)
                if self._still_ends(end, lane):
                    results.append(TokenResult(end[2], True))
            lane.log.add(run, run.done + 1, num_steps)
        run.done = run.end
        lane.num_steps += num_steps
        lane.busy_s += now_s - lane.started_s
        if batch.prompts:
            if self._carrier:
                self._carrier.note_step(batch, now_s - lane.started_s, now_s)
            self._sample_all(batch, now_s, results)
        elif not batch.ticks:
            self._sample_all(batch, now_s, results)
        return self.cluster.on_batch_done(batch, results, now_s, num_steps)

    def _sample_all(self, batch: Batch, now_s: float, results: list[TokenResult]) -> None:
        """Note the tokens of a step that no log tells of, and in ``results`` those that are the last."""
        if not batch.ticks:
            lane = self.lanes[batch.instance_id]
            for sequence in batch.decodes:
                if not sequence.is_ended:
                    self._sample(sequence, now_s, results)
                    if lane.instance.num_stages == 1:  # in a pipeline nobody has a clock
                        lane.beside[sequence] = None
        for chunk in batch.prompts:
            for sequence in chunk.samples:
                if not sequence.is_ended:
                    self._sample(sequence, now_s, results)

    def _sample(self, sequence: Sequence, now_s: float, results: list[TokenResult]) -> None:
        """Note a token, and in ``results`` if it is the last one."""
        times_s = self._times_of(sequence)
        if times_s.is_open:
            times_s.stop(sequence.num_output_tokens)
        times_s.append(now_s)
        if len(times_s) >= self._lengths[sequence._request.id]:
            results.append(TokenResult(sequence, finished=True))

    # pipelines

    def _enter_pipeline(self, batch: Batch, lane: Lane, now_s: float) -> None:
        """Stage after stage, each as soon as the batch has come so far and the one before it has gone on.

        The later stages share evenly what the first one leaves of the step.
        """
        stage_s = cast(StagedCostModel, lane.cost).batch_stage_s(batch)
        later_s = (lane.cost.batch_s(batch) - stage_s) / (len(lane.stages_free_s) - 1)
        lane.num_steps += 1
        lane.busy_s += stage_s
        time_s = now_s
        for stage, free_s in enumerate(lane.stages_free_s):
            time_s = lane.stages_free_s[stage] = max(time_s, free_s) + (later_s if stage else stage_s)
        self.at(lane.stages_free_s[0], self.cluster.on_stage_free, batch, rank=0)
        self.at(time_s, self._leave_pipeline, batch, now_s, rank=0)

    def _leave_pipeline(self, batch: Batch, started_s: float, now_s: float) -> list[Action]:
        if not self.cluster.running(batch):
            return []
        if self._carrier and batch.prompts:
            self._carrier.note_step(batch, now_s - started_s, now_s)
        results: list[TokenResult] = []
        self._sample_all(batch, now_s, results)
        return self.cluster.on_batch_done(batch, results, now_s)


def _call(what: tuple[Callable[..., list[Action]], tuple[Any, ...]], now_s: float) -> list[Action]:
    handler, arguments = what
    return handler(*arguments, now_s)
