"""One model replica: its queues, its memory, its scheduler, and the batch that is running."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as List
from math import inf
from typing import Any, Literal, get_args

from course.errors import UserError
from course.serving.assembly import assemble
from course.serving.batch import Batch, BlockCopy, TokenResult
from course.serving.draft import validate
from course.serving.memory import Memory, Reservation
from course.serving.plan import Plan, Scheduler
from course.serving.pool import BlockPool
from course.serving.sequence import Sequence, State
from course.serving.view import InstanceView
from course.serving.waiting import WaitingQueue

Role = Literal["mixed", "prefill", "decode"]


class Instance:
    """Validates the plans of its scheduler and applies them, whole or not at all.

    ``role`` is what the cluster uses the instance for: prompts only ("prefill"), answers only ("decode") or
    both ("mixed"). The instance itself treats all alike.

    With ``num_stages`` > 1 its layers are spread over that many pipeline stages: another batch may enter as soon as the
    first stage is free, so that many are in flight. A sequence is in one of them at most, and each takes its share of
    the sequences that decode. ``max_context_tokens`` is the model's: a longer prompt cannot run here.
    ``make_pool`` makes the pool of device blocks, of (num_blocks, block_size, prefix_cache).
    """

    def __init__(
        self,
        scheduler: Scheduler,
        num_blocks: int,
        block_size: int = 16,
        *,
        id: int = 0,
        role: Role = "mixed",
        prefix_cache: bool = False,
        num_host_blocks: int = 0,
        num_stages: int = 1,
        max_context_tokens: int | None = None,
        make_pool: Callable[[int, int, bool], BlockPool] = BlockPool,
    ) -> None:
        if role not in get_args(Role):
            raise UserError(f"instance {id}: unknown role {role!r}; it is mixed, prefill or decode")
        if num_stages < 1:
            raise UserError(f"instance {id}: num_stages must be at least 1, got {num_stages}")
        self.id = id
        self.role: Role = role
        self.scheduler: Scheduler | Any = scheduler  # what it answers is yet to be seen
        self.memory = Memory(make_pool(num_blocks, block_size, prefix_cache), num_host_blocks)
        self.capacity_tokens = num_blocks * block_size
        self.max_context_tokens = inf if max_context_tokens is None else max_context_tokens
        self.waiting = WaitingQueue()
        self.running: dict[Sequence, None] = {}
        self.decoding = self.memory.decoding  # those of `running` whose last step sampled a token
        self.held: dict[Sequence, None] = {}  # prompt computed, waits to be moved elsewhere
        self.reserved: dict[int, Reservation] = {}  # by transfer: blocks for what is being moved here
        self.num_pending_tokens = 0  # to compute before everybody here decodes; a prefix that is cached counts
        self.num_stages = num_stages
        self.in_flight: list[Batch] = []
        self.busy: set[Sequence] = set()  # in the pipeline, where there is one
        self.entry_is_free = True  # the first stage, that is; without a pipeline, the whole instance
        self.now_s = 0.0
        self._num_steps = 0
        self._view = InstanceView(self)
        self._to_publish: dict[Sequence, None] = {}  # decode, and have blocks to publish once they are full

    def __repr__(self) -> str:
        return f"<instance {self.id} {self.role}: {len(self.running)} running, {len(self.waiting)} waiting>"

    @property
    def is_idle(self) -> bool:
        """Whether another batch may start."""
        return self.entry_is_free and len(self.in_flight) < self.num_stages

    @property
    def has_work(self) -> bool:
        """Whether there is anything for the scheduler to decide."""
        return bool(self.waiting or self.running)

    @property
    def sequences(self) -> list[Sequence]:
        """Every sequence that lives here."""
        return [*self.waiting, *self.running, *self.held]

    def why_never(self, sequence: Sequence) -> str | None:
        """Why the sequence could not run here even alone, or None if it could."""
        longest = self.max_context_tokens
        if sequence.num_prompt_tokens > longest:
            return (
                f"request {sequence.request.id} has a prompt of {sequence.num_prompt_tokens} tokens and the model of "
                f"instance {self.id} a context of {longest}; shorten the prompt"
            )
        pool = self.memory.pool
        most = sequence.num_known_tokens if self.role == "prefill" else sequence.num_tokens_at_most
        if most <= self.capacity_tokens:
            return None
        return (
            f"request {sequence.request.id} may need {most} tokens = {pool.blocks_for(most)} blocks of "
            f"{pool.block_size} but instance {self.id} has {pool.num_blocks}; give it more blocks or "
            "ask for fewer tokens"
        )

    def enqueue(self, sequence: Sequence) -> None:
        """Let a sequence wait here."""
        self.num_pending_tokens += sequence.num_known_tokens - sequence._num_computed
        self.waiting.add(sequence)

    # a step

    def schedule(self, now_s: float) -> tuple[Plan, Batch | None]:
        """Ask the scheduler and carry its plan out. Raises PlanError, with nothing changed, if the plan is invalid.

        Returns the plan and the batch to run, if any.
        """
        self.now_s = now_s
        plan = self._ask(now_s)
        swap_out: List[BlockCopy] = ()
        if plan.refuse or plan.preempt:
            for sequence, _ in plan.refuse:
                self.end(sequence, State.REFUSED)
            swap_out = self._preempt(plan)
        # A plan that only preempts still has copies to make: the data plane gets them as a batch without chunks.
        if not (plan.chunks or (plan.decode_all and self.decoding.members) or swap_out):
            return plan, None
        batch = assemble(self, plan, self._num_steps, swap_out)
        self.in_flight.append(batch)
        self.entry_is_free = False
        if self.num_stages > 1:
            self.busy.update(batch.sequences)
        self._num_steps += 1
        return plan, batch

    def _ask(self, now_s: float) -> Plan:
        """What the scheduler answers, once it is known to be a plan that can be carried out."""
        view = self._view
        view._open(now_s)
        plan = self.scheduler.schedule(view)
        if (draft := view._draft) is None or not draft.vouches_for(plan):
            validate(plan, self)
        return plan

    def _preempt(self, plan: Plan) -> list[BlockCopy]:
        copies: list[BlockCopy] = []
        for sequence, swap in plan.preempt:
            self._leave(sequence)
            if swap:
                copies += self.memory.swap_out(sequence)
            else:
                self.memory.drop(sequence)
            sequence._move_to(State.PREEMPTED)
            sequence._num_preemptions += 1
            self.enqueue(sequence)
        return copies

    def advance(self, batch: Batch, num_steps: int) -> None:
        """So many of the steps for which the running batch holds are done, and the next one runs."""
        if batch not in self.in_flight or num_steps >= batch.holds:
            raise RuntimeError(f"instance {self.id} cannot advance by {num_steps} steps")
        batch.holds -= num_steps
        self._count(batch, num_steps)
        self.decoding.cover(self.decoding.steps + 1)

    def complete(
        self, batch: Batch, results: List[TokenResult], num_steps: int = 1
    ) -> tuple[list[Sequence], list[Sequence]]:
        """The batch is done. Returns the sequences that ended and those that were forked off.

        ``results`` belongs to the last step and is read as `TokenResult` says; what is for sequences that were
        cancelled meanwhile is ignored.
        """
        if batch not in self.in_flight:
            raise RuntimeError(f"instance {self.id} completed a batch that it does not run")
        if num_steps > batch.holds:
            raise RuntimeError(
                f"instance {self.id} completed {num_steps} steps of a batch that holds for {batch.holds}"
            )
        self.in_flight.remove(batch)
        if self.num_stages == 1:
            self.entry_is_free = True
        else:
            self.busy.difference_update(batch.sequences)
        if self.memory.host and not self.in_flight:
            self.memory.settle()
        self._count(batch, num_steps)
        decoding = self.decoding
        if batch.ticks:
            if decoding.covered < decoding.steps:
                decoding.cover(decoding.steps)
            if decoding.newcomers:
                decoding.welcome()
        elif batch.decodes:
            self._count_alone(batch)
        forked = self._count_prompts(batch) if batch.prompts else []
        ended = [result.sequence for result in results if self._take(result)] if results else []
        return ended, forked

    def _count(self, batch: Batch, num_steps: int) -> None:
        if batch.ticks:
            self.decoding.steps += num_steps
            if self._to_publish:
                for sequence in list(self._to_publish):
                    self._publish(sequence)
        if batch.leaving:
            for sequence in batch.leaving:
                self.memory.drop(sequence)
            batch.leaving = ()

    def _count_alone(self, batch: Batch) -> None:
        for sequence in batch.decodes:
            if sequence._state is State.RUNNING:
                self.decoding.bump(sequence)
                if self.memory.pool.prefix_cache:
                    self._publish(sequence)

    def _count_prompts(self, batch: Batch) -> list[Sequence]:
        forked: list[Sequence] = []
        for sequence, _, num_tokens, _, samples in batch.prompts:
            if sequence._state is not State.RUNNING:
                continue
            sequence._num_computed += num_tokens
            self.num_pending_tokens -= num_tokens
            if self.memory.pool.prefix_cache:
                self.memory.publish(sequence)
            if len(samples) > 1:
                forked += self._fork(sequence)
            for sample in samples:
                sample._num_output += 1
                self._join(sample)
        return forked

    def _join(self, sequence: Sequence) -> None:
        """A token was sampled: the sequence decodes from now on; with role "prefill", it is held to be moved."""
        if self.role == "prefill":
            del self.running[sequence]
            self.held[sequence] = None
            return
        if self.in_flight and self.in_flight[0].ticks:  # of several in a pipeline, none ticks
            self.decoding.newcomers[sequence] = None
        else:
            self.decoding.add(sequence)
        if sequence._block_hashes and self.memory.pool.prefix_cache:
            self._publish(sequence)

    def _publish(self, sequence: Sequence) -> None:
        """Publish what is full, and remember whether there is more to come."""
        self.memory.publish(sequence)
        if sequence in self.decoding and sequence._num_published < len(sequence._block_hashes):
            self._to_publish[sequence] = None
        else:
            self._to_publish.pop(sequence, None)

    def _fork(self, parent: Sequence) -> list[Sequence]:
        siblings = [s for s in parent._siblings if not s.is_ended]
        parent._siblings = ()
        for sibling in siblings:
            self.memory.fork(parent, sibling)
            sibling._move_to(State.RUNNING)
            self.running[sibling] = None
        return siblings

    def _take(self, result: TokenResult) -> bool:
        """Note what is said of a token that was counted; True if the answer ends with it."""
        sequence = result.sequence
        if sequence._state is not State.RUNNING:
            return False
        if result.block_hash is not None:
            completes = sequence.num_known_tokens // self.memory.pool.block_size - 1
            if len(sequence._block_hashes) == completes:
                sequence._block_hashes.append(result.block_hash)
                self._publish(sequence)
        if not result.finished and sequence.num_output_tokens < sequence._request.max_new_tokens:
            return False
        self.end(sequence, State.FINISHED)
        return True

    def end(self, sequence: Sequence, state: State) -> None:
        """Take a sequence out for good. Blocks that a running batch still writes are given back when it is done."""
        sequence._move_to(state)
        if sequence in self.running:
            self._leave(sequence)
        elif sequence in self.waiting:
            del self.waiting[sequence]
            self.num_pending_tokens -= sequence.num_known_tokens - sequence._num_computed
        else:
            self.held.pop(sequence, None)
        for batch in self.in_flight:
            if sequence in batch.sequences:
                batch.leaving = [*batch.leaving, sequence]
                return
        self.memory.drop(sequence)

    def _leave(self, sequence: Sequence) -> None:
        del self.running[sequence]
        if self.decoding.remove(sequence):
            self._to_publish.pop(sequence, None)
        else:
            self.num_pending_tokens -= sequence.num_known_tokens - sequence._num_computed

    def abandon(self) -> None:
        """The device and its memory are gone: nothing is computed any more."""
        for sequence in list(self.decoding):
            self.decoding.remove(sequence)
        for sequence in self.sequences:
            sequence._forget_computed()
        self.in_flight = []

    # moving a sequence between instances

    def hold(self, sequence: Sequence) -> None:
        """Keep a running sequence's blocks but do not run it: it is to be moved."""
        self._leave(sequence)
        self.held[sequence] = None

    def resume(self, sequence: Sequence) -> None:
        """Let a held sequence whose answer has begun go on here."""
        del self.held[sequence]
        self.running[sequence] = None
        self._join(sequence)

    def discard(self, sequence: Sequence) -> None:
        """Let go of a held sequence: it will be computed again."""
        del self.held[sequence]
        self.memory.drop(sequence)

    def can_reserve(self, sequence: Sequence, is_early: bool = False) -> bool:
        """Whether there is room for the sequence and its next token, and nobody here waits for that room.

        ``is_early``: a token more, which the running step will sample.
        """
        return not self.waiting and self.has_room(sequence, int(is_early))

    def has_room(self, sequence: Sequence, num_more_tokens: int = 0) -> bool:
        """Whether there is room for the sequence and its next token, whoever else may want it."""
        return self.can_allocate(self.memory.pool.blocks_for(sequence.num_known_tokens + num_more_tokens))

    def can_allocate(self, num_blocks: int) -> bool:
        """Whether a transfer may write to so many blocks.

        Those that the running batch still copies to host memory must not be overwritten.
        """
        for batch in self.in_flight:
            if batch.swap_out:
                return False
        return num_blocks <= self.memory.pool.num_free_blocks

    def reserve(self, transfer_id: int, sequence: Sequence, is_early: bool = False) -> Reservation:
        """Blocks to receive the sequence's computed tokens; ``is_early``: and those that the running step computes."""
        num_tokens = sequence.num_known_tokens if is_early else sequence._num_computed
        return self.reserve_blocks(transfer_id, self.memory.pool.blocks_for(num_tokens))

    def reserve_blocks(self, key: int, count: int) -> Reservation:
        """``count`` blocks, or more of them for a sequence that comes piece by piece."""
        if reservation := self.reserved.get(key):
            reservation.extend(count)
        else:
            reservation = self.reserved[key] = Reservation(self.memory.pool, count)
        return reservation

    def cancel_reservation(self, transfer_id: int) -> None:
        """The move did not happen: give the blocks back."""
        self.reserved.pop(transfer_id).cancel()

    def hand_over(self, transfer_id: int, sequence: Sequence, target: Instance) -> None:
        """Commit a move: the target's copy counts from now on, the blocks here are given back."""
        del self.held[sequence]
        self.memory.let_go(sequence)
        target.reserved.pop(transfer_id).hand_to(sequence)
        sequence._num_published = 0
        target.running[sequence] = None
        target._join(sequence)

    def check_integrity(self) -> None:
        """Raise AssertionError unless queues, states, counters and blocks agree."""
        leaving = [s for batch in self.in_flight for s in batch.leaving]
        self.memory.check_integrity([*self.sequences, *leaving], list(self.reserved.values()))
        for sequence in self.waiting:
            assert sequence.state in (State.WAITING, State.PREEMPTED), f"{sequence!r} is in the waiting queue"
            num_held = len(sequence._block_table) + sequence._num_unnamed
            assert not num_held, f"{sequence!r} waits but holds device blocks"
            assert bool(sequence._num_computed) == sequence.is_swapped, f"{sequence!r} has stale counters"
        for sequence in [*self.running, *self.held]:
            assert sequence.state is State.RUNNING, f"{sequence!r} is in the running queue"
            held = len(sequence._block_table) + sequence._clock.num_unnamed(sequence)
            needed = self.memory.pool.blocks_for(sequence.num_computed_tokens)
            assert held >= needed, f"{sequence!r} holds {held} blocks but has computed {needed} blocks' worth"
            left = sequence.num_known_tokens - sequence.num_computed_tokens
            assert left > 0, f"{sequence!r} has nothing left to compute"
            assert left == 1 or sequence not in self.decoding, f"{sequence!r} does not decode"
        assert set(self.decoding) <= self.running.keys(), "something decodes that does not run"
        pending = [*self.waiting, *(s for s in self.running if s not in self.decoding)]
        tokens = sum(s.num_known_tokens - s._num_computed for s in pending)
        assert self.num_pending_tokens == tokens, f"{tokens} tokens are pending, {self.num_pending_tokens} are counted"
