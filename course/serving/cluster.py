"""The only place where instances meet: events come in, actions go out.

A driver (the engine on the wall clock, the simulator on a virtual one) reports every event of one instant
through the ``on_...`` methods, then calls `Cluster.decide` once, and carries out all actions returned. The
cluster never reads a clock and draws nothing at random: the same events give the same actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as List

from course.errors import UserError
from course.serving.actions import Action, CutShort, RunBatch, SequenceEnded, SequenceForked, Transfer, WakeAt
from course.serving.batch import Batch, TokenResult
from course.serving.instance import Instance
from course.serving.migration import Migrations
from course.serving.mover import Mover, Moves
from course.serving.routers import LeastRequests, RoundRobin, Router, choose
from course.serving.sequence import Sequence, State
from course.serving.soundness import StalledError, check_books, check_not_stalled
from course.serving.transfer import Handovers
from course.workload.request import Request

__all__ = ["Cluster", "StalledError"]


class Cluster:
    """Instances, and the sequences that arrive at them, move between them and leave.

    With roles "prefill" and "decode" among the instances, a sequence whose prompt is computed moves to a decode
    instance as soon as one has room. If the router is also a `Mover`, it may move sequences between the others while
    they decode. ``early_transfers``: where there is room, a move begins with the step that completes the prompt, for
    drivers that copy layer by layer; its end is not reported before that step's.
    """

    MAX_ATTEMPTS = 3  # failed copies of one sequence before it is computed again instead

    def __init__(
        self,
        instances: Iterable[Instance],
        router: Router | None = None,
        decode_router: Router | None = None,
        early_transfers: bool = False,
    ) -> None:
        self.instances: dict[int, Instance] = {}  # in order of their ids
        self.router = router or RoundRobin()
        self.handovers = Handovers(decode_router or LeastRequests())
        self.migrations = Migrations(self.handovers.new_id, self._wake)
        self.early_transfers = early_transfers
        self._moves: Moves | None = None
        self._sequences: dict[int, list[Sequence]] = {}  # by request id, while one of them is unfinished
        self._home: dict[Sequence, Instance] = {}
        if isinstance(self.router, Mover):
            self._moves = Moves(self.router, self.migrations, self._home)
        self._to_decide: dict[Instance, None] = {}
        self._undelivered: list[Action] = []
        self._num_arrivals = 0
        self._asked_for_s: set[float] = set()  # times at which schedulers want to be asked
        for instance in sorted(instances, key=lambda each: each.id):
            self._enter(instance)
        self._sort_by_role()
        if not self._prefillers:
            raise UserError("a cluster needs at least one instance with role 'mixed' or 'prefill'")
        if self._splits and not self._decoders:
            raise UserError("a cluster with role 'prefill' needs an instance with role 'decode' or 'mixed'")

    # requests

    def on_arrival(self, request: Request, now_s: float) -> list[Action]:
        """A request has arrived: it is queued on an instance, or refused if it could never run."""
        if request.id in self._sequences:
            raise UserError(f"request id {request.id} is in use; ids must differ")
        sequence = Sequence(request, self._num_arrivals)
        fits = self._fits_everywhere(request)
        reason = None if fits else self.why_never(sequence)
        if not reason:
            self._route(sequence, now_s, fits)
        self._num_arrivals += 1
        self._sequences[request.id] = [sequence, *sequence._siblings]
        return self._end_request(request.id, State.REFUSED, reason) if reason else []

    def why_never(self, sequence: Sequence, *phases: str) -> str | None:
        """Why no instance could serve the sequence in one of the phases (those to come unless named), or None."""
        for phase in phases or (("prefill", "decode") if self._splits else ("prefill",)):
            instances = self._prefillers if phase == "prefill" else self._decoders
            if not instances:
                return f"request {sequence.request.id}: no {phase} instance is left"
            first_reason = ""
            for instance in instances:
                if (reason := instance.why_never(sequence)) is None:
                    break
                first_reason = first_reason or reason
            else:
                return first_reason
        return None

    def on_cancel(self, request_id: int, now_s: float, sample: int | None = None) -> list[Action]:
        """The client is gone: its unfinished answers end, or ``sample`` alone. What is unknown or ended is no error.

        Raises UserError where one is to end alone before the prompt is computed: until then, they are one.
        """
        if sample is not None and any(sequence._siblings for sequence in self._sequences.get(request_id, [])):
            raise UserError(f"request {request_id}: none of its answers can end alone before they have begun")
        return self._end_request(request_id, State.CANCELLED, "cancelled by the client", sample)

    def on_failure(self, request_id: int, reason: str, now_s: float) -> list[Action]:
        """The data plane gives a request up: its unfinished answers fail. An unknown request is no error."""
        return self._end_request(request_id, State.FAILED, reason)

    # steps

    def on_batch_progress(self, batch: Batch, num_steps: int, now_s: float) -> list[Action]:
        """So many steps of a batch that holds for more are done, and the next one runs."""
        if instance := self.running(batch):
            instance.advance(batch, num_steps)
        return []

    def on_stage_free(self, batch: Batch, now_s: float) -> list[Action]:
        """The batch has left the first stage of a pipeline: another one may enter."""
        if instance := self.running(batch):
            instance.entry_is_free = True
            self._wake(instance)
        return []

    def on_batch_done(self, batch: Batch, results: list[TokenResult], now_s: float, num_steps: int = 1) -> list[Action]:
        """A batch is finished, ``num_steps`` after the last report.

        ``results`` are those of the last step; `TokenResult` says whose are needed.
        """
        if (instance := self.running(batch)) is None:
            return []
        ended, forked = instance.complete(batch, results, num_steps)
        self._to_decide[instance] = None
        actions: list[Action] = []
        for sibling in forked:
            self._home[sibling] = instance
            actions.append(SequenceForked(self._sequences[sibling.request.id][0], sibling))
        for sequence in ended:
            if self._moves:
                actions += self.migrations.drop(sequence)
            if self.handovers.early and sequence in self.handovers.early:
                actions += self.handovers.drop(sequence)
            self._forget(sequence)
            actions.append(SequenceEnded(sequence))
        if instance.role == "prefill":
            for sequence in [s for chunk in batch.prompts for s in chunk.samples if s in instance.held]:
                self.handovers.add(sequence, instance)
        elif self._moves:
            actions += self._moves.after_step(instance, batch, self._decoders, now_s)
        return actions

    def running(self, batch: Batch) -> Instance | None:
        """The instance that runs the batch; None if it was lost meanwhile, be it back or not."""
        instance = self.instances.get(batch.instance_id)
        return instance if instance and batch in instance.in_flight else None

    def on_timer(self, now_s: float) -> list[Action]:
        """A time that an action asked for has come: the mover is asked, or idle instances are."""
        is_over = {time_s for time_s in self._asked_for_s if time_s <= now_s}
        self._asked_for_s -= is_over
        is_due = self._moves is not None and self._moves.is_due(now_s)
        if is_over or not is_due:
            self._to_decide.update(dict.fromkeys(self.instances.values()))
        return self._moves.rebalance(self._decoders, now_s) if self._moves and is_due else []

    # transfers

    def on_transfer_progress(self, transfer_id: int, num_blocks_done: int, now_s: float) -> list[Action]:
        """So many blocks have arrived at the target."""
        if transfer := self.handovers.transfers.get(transfer_id) or self.migrations.stage(transfer_id):
            transfer.num_blocks_done = num_blocks_done
        return []

    def on_transfer_done(self, transfer_id: int, now_s: float) -> list[Action]:
        """All blocks have arrived: the target's copy counts, the source's blocks are free."""
        if self._moves and self.migrations.stage(transfer_id):
            actions, moved = self.migrations.on_stage_done(transfer_id)
            if moved:
                self._home[moved.sequence] = moved.target
            return actions
        if transfer := self.handovers.commit(transfer_id):
            self._wake(transfer.source)
            self._wake(transfer.target)
            if not transfer.is_void:
                self._home[transfer.sequence] = transfer.target
        return []

    def on_transfer_refused(self, transfer_id: int, now_s: float) -> list[Action]:
        """The target would not take it; it is tried again after a pause, perhaps elsewhere."""
        if self.migrations.stage(transfer_id):
            return self.migrations.on_stage_failed(transfer_id)
        if (transfer := self._give_up(transfer_id)) is None or transfer.is_void:
            return []
        self.handovers.add_again(transfer, transfer.attempt)
        return [WakeAt(self.handovers.pause(now_s))]

    def on_transfer_failed(self, transfer_id: int, now_s: float) -> list[Action]:
        """The copy broke. It is tried again; after `MAX_ATTEMPTS` the sequence is computed anew instead.

        What could go on where it was goes on there.
        """
        if self.migrations.stage(transfer_id):
            return self.migrations.on_stage_failed(transfer_id)
        if (transfer := self._give_up(transfer_id)) is None or transfer.is_void:
            return []
        if transfer.attempt < self.MAX_ATTEMPTS or transfer.sequence in self.handovers.early:
            self.handovers.add_again(transfer, transfer.attempt + 1)
            return []
        transfer.source.discard(transfer.sequence)
        self._wake(transfer.source)
        return self._start_over([transfer.sequence], now_s)

    def _give_up(self, transfer_id: int) -> Transfer | None:
        """End a transfer that did not succeed; None if it is unknown. The target may use the room it had reserved."""
        if transfer := self.handovers.give_up(transfer_id):
            self._wake(transfer.target)
        return transfer

    # instances

    def on_instance_lost(self, instance_id: int, now_s: float, replacement: Instance | None = None) -> list[Action]:
        """An instance and its memory are gone: what lived there is computed again elsewhere, or on its replacement.

        What no instance could serve any more fails now instead of waiting for ever; answers that are being
        written elsewhere go on.
        """
        if (lost := self.instances.pop(instance_id, None)) is None:
            return []
        self._to_decide.pop(lost, None)
        if replacement:
            self.on_instance_joined(replacement, now_s)
        self._sort_by_role()
        actions = self.handovers.lose(lost) + self.migrations.lose(lost)
        orphans = lost.sequences
        lost.abandon()
        actions += self._start_over(orphans, now_s)
        for sequence, home in list(self._home.items()):
            if home.role == "prefill" and (reason := self.why_never(sequence, "decode")):
                actions += self._end_request(sequence.request.id, State.FAILED, reason)
        return actions

    def on_instance_joined(self, instance: Instance, now_s: float) -> list[Action]:
        """A new instance, or a lost one that is back, empty."""
        self._enter(instance)
        self.instances = dict(sorted(self.instances.items()))
        self._sort_by_role()
        return []

    # decisions

    def decide(self, now_s: float) -> list[Action]:
        """Start transfers and ask idle instances until nothing more follows from what has happened.

        Raises PlanError when a scheduler breaks a rule: that instance is unchanged, and what was decided before is
        returned by the next call.
        """
        actions = self._undelivered
        to_decide, moves = self._to_decide, self.handovers
        if moves.waiting:
            actions += self.start_transfers(now_s)
        while to_decide:
            instance = next(iter(to_decide))
            in_flight = instance.in_flight
            if instance.entry_is_free and len(in_flight) < instance.num_stages:
                if (instance.waiting or instance.running) and self._ask(instance, now_s):
                    continue
            elif in_flight and in_flight[0].holds > 1:
                actions.append(CutShort(instance.id))
            del to_decide[instance]
            if moves.waiting and not to_decide:
                actions += self.start_transfers(now_s)  # an admission may have made room in the queue of a target
        if self._moves and self._sequences:
            actions += self._moves.ask_again(now_s)
        if actions:
            self._undelivered = []
        return actions

    def _ask(self, instance: Instance, now_s: float) -> bool:
        """Let an instance decide; whether it wants to be asked again at once, for its plan only made room."""
        plan, batch = instance.schedule(now_s)
        for sequence, reason in plan.refuse:
            self._forget(sequence)
            self._undelivered.append(SequenceEnded(sequence, reason))
            self._undelivered += self._end_request(sequence.request.id, State.REFUSED, reason)
        if batch is not None:
            self._undelivered.append(RunBatch(batch))
            if self.early_transfers and instance.role == "prefill":
                self._undelivered += self.handovers.start_early(batch, instance, self._decoders, now_s)
        if plan.wake_at_s is not None:
            self._asked_for_s.add(plan.wake_at_s)
            self._undelivered.append(WakeAt(plan.wake_at_s))
        return batch is None and bool(plan.preempt or plan.refuse)

    def start_transfers(self, now_s: float) -> list[Action]:
        """Start every transfer for which there is room.

        A driver whose transfers may take no time calls this, and reports their ends, before it calls `decide`.
        """
        actions: list[Action] = []
        if self.handovers.waiting:
            for action in self.handovers.start(self._decoders, now_s):
                self._to_decide[action.transfer.target] = None
                actions.append(action)
        return actions

    @property
    def num_unfinished(self) -> int:
        """Sequences that have not ended."""
        return sum(not s.is_ended for group in self._sequences.values() for s in group)

    def name_blocks(self, tokens: List[int]) -> tuple[int, ...]:
        """Chained hashes of the full blocks of a prompt; none without a prefix cache. All instances name alike."""
        return self._prefillers[0].memory.pool.name_blocks(tokens) if self._prefillers else ()

    # inside

    def _enter(self, instance: Instance) -> None:
        if instance.id in self.instances:
            raise UserError(f"two instances have the id {instance.id}; ids must differ")
        if instance.sequences or not instance.is_idle:
            raise UserError(f"instance {instance.id} is not empty; one that was lost comes back as a new Instance")
        self.instances[instance.id] = instance
        self._wake(instance)

    def _sort_by_role(self) -> None:
        """To be called whenever an instance comes, goes or changes its role."""
        everyone = list(self.instances.values())
        self._prefillers = [i for i in everyone if i.role != "decode"]
        self._decoders = [i for i in everyone if i.role != "prefill"]
        self._splits = any(i.role == "prefill" for i in everyone)
        is_whole = bool(self._prefillers and self._decoders)
        self._least_context = min(i.max_context_tokens for i in everyone) if is_whole else 0
        self._least_capacity = min(i.capacity_tokens for i in everyone) if is_whole else 0

    def _wake(self, instance: Instance) -> None:
        """Let the instance be asked at the next decision, unless it was lost."""
        if self.instances.get(instance.id) is instance:
            self._to_decide[instance] = None

    def _fits_everywhere(self, request: Request) -> bool:
        """Whether no instance will ever be too small for a request: the usual case, seen without asking each."""
        num_tokens = request.num_prompt_tokens
        return num_tokens <= self._least_context and num_tokens + request.max_new_tokens <= self._least_capacity

    def _route(self, sequence: Sequence, now_s: float, fits_everywhere: bool) -> None:
        candidates = self._prefillers
        if not fits_everywhere:
            candidates = [i for i in candidates if not i.why_never(sequence)]
        instance = choose(self.router, candidates, sequence, now_s)
        instance.enqueue(sequence)
        self._home[sequence] = instance
        self._wake(instance)

    def _start_over(self, sequences: list[Sequence], now_s: float) -> list[Action]:
        """Queue sequences that have lost their blocks; fail those that no instance can serve any more."""
        actions: list[Action] = []
        for sequence in sorted(sequences, key=lambda s: (s.rank, s.sample)):
            self._home.pop(sequence, None)
            if sequence.state is State.RUNNING:
                sequence._move_to(State.PREEMPTED)
                sequence._num_preemptions += 1
            if reason := self.why_never(sequence):
                actions += self._end_request(sequence.request.id, State.FAILED, reason)
            elif not sequence.is_ended:
                self._route(sequence, now_s, self._fits_everywhere(sequence.request))
        return actions

    def _end_request(self, request_id: int, state: State, reason: str, sample: int | None = None) -> list[Action]:
        actions: list[Action] = []
        for sequence in self._sequences.get(request_id, []):
            if sequence.is_ended or sample not in (None, sequence.sample):
                continue
            actions += self.handovers.drop(sequence) + self.migrations.drop(sequence)
            if home := self._home.get(sequence):
                home.end(sequence, state)
                self._wake(home)
            else:
                sequence._move_to(state)
            self._forget(sequence)
            actions.append(SequenceEnded(sequence, reason))
        return actions

    def _forget(self, sequence: Sequence) -> None:
        self._home.pop(sequence, None)
        id = sequence._request.id
        siblings = self._sequences.get(id, ())
        if len(siblings) == 1 or all(s.is_ended for s in siblings):
            self._sequences.pop(id, None)

    # truth

    def check_integrity(self) -> None:
        """Raise AssertionError unless every instance is sound and every sequence has exactly one home."""
        check_books(self.instances.values(), self._sequences, self._home, self.handovers, self.migrations)

    def check_not_stalled(self) -> None:
        """To be called when no event is to come any more: raises StalledError if anything still waits."""
        check_not_stalled(self.instances.values(), self.handovers)
