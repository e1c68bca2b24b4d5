"""The rules of a plan, and a plan in the making that obeys them.

A policy asks (`can_add`), then does (`add`); the instance replays a finished plan through the
same methods, so there is one set of rules. Nothing here changes the instance. What a learner's policy hands in may be
anything, is typed so (``int | Any``), and is checked first.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from course.serving.plan import Chunk, Plan, PlanError, Preemption, Refusal
from course.serving.sequence import Sequence, State

if TYPE_CHECKING:
    from course.serving.instance import Instance


class Draft:
    """What is left of an instance's memory once the plan so far is carried out."""

    num_tokens = 0
    _priced: tuple[Sequence, int] | None = None  # the last chunk asked for while nothing was added since
    _price = 0  # in free blocks
    _decode_price: int | None = None  # the same of one token for all that decode
    _num_host_blocks = 0  # that its preemptions take
    _is_simple = True  # only chunks, and perhaps all decodes
    _decodes_all = False

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._memory = memory = instance.memory
        self._pool = memory.pool
        self._used: set[Sequence] = set()  # each sequence may appear in a plan once
        self._released: dict[int, int] = {}  # references that the plan's preemptions and copies drop
        self._revived: frozenset[int] = frozenset()  # cached blocks that the plan's admissions bring back into use
        self._passed: list[Chunk] = []  # the chunks again, where nobody else can change them
        self.plan = Plan()  # so far
        self.num_free_blocks = memory.pool.num_free_blocks

    def __repr__(self) -> str:
        return f"<draft of a plan: {len(self.plan.chunks)} chunks>"

    @property
    def num_free_host_blocks(self) -> int:
        """Blocks of host memory that sequences can be swapped out to."""
        return self._memory.num_free_host_blocks - self._num_host_blocks

    @property
    def num_running(self) -> int:
        """Sequences that run once the plan is carried out (a prompt with n > 1 counts n)."""
        running, decoding = self._instance.running, self._instance.decoding
        num = len(running)
        if num > len(decoding.members):
            num += sum([s.num_slots - 1 for s in running if s._siblings and s not in decoding])
        for sequence, _ in self.plan.chunks:
            if sequence._state is not State.RUNNING:
                num += sequence.num_slots
        for sequence, _ in self.plan.preempt:
            num -= sequence.num_slots
        return num

    def vouches_for(self, plan: Plan | Any) -> bool:
        """Whether this plan is the one that was drafted here, entry by entry: it need not be checked again then.

        Said of the usual kind only, which preempts and refuses nobody.
        """
        return plan is self.plan and self._is_simple and self._is_untouched(plan)

    def _is_untouched(self, plan: Any) -> bool:
        return (
            plan.decode_all is self._decodes_all
            and plan.chunks == self._passed
            and type(plan.holds) is int
            and plan.holds > 0
            and plan.wake_at_s is None
            and not (plan.preempt or plan.refuse)
        )

    # chunks

    def tokens_left(self, sequence: Sequence) -> int:
        """Known tokens still to compute; for a sequence without blocks, those after its cached prefix."""
        left = sequence._request.num_prompt_tokens + sequence._num_output - sequence._num_computed
        if not self._pool.prefix_cache or sequence._num_computed or sequence._state is State.RUNNING:
            return left  # known - computed: both go by the same clock
        return left - len(self._memory.cached_prefix(sequence)) * self._pool.block_size

    def blocks_needed(self, sequence: Sequence, num_tokens: int) -> int:
        """Free blocks that computing ``num_tokens`` more tokens of the sequence takes."""
        pool, clock = self._pool, sequence._clock
        num_tokens += sequence._num_computed + clock.steps
        if sequence._state is State.RUNNING:
            total = -(-num_tokens // pool.block_size)
            held = len(sequence._block_table) + clock.num_unnamed(sequence)
            return total - held + (sequence._request.n > 1 and self._block_to_copy(sequence) is not None)
        if not pool.prefix_cache or sequence._host_blocks:
            return -(-num_tokens // pool.block_size)
        hits = self._memory.cached_prefix(sequence)
        return pool.blocks_for(num_tokens) + sum([self._is_idle(block) for block in hits])

    def can_add(self, sequence: Sequence, num_tokens: int, num_spare_blocks: float = 0) -> bool:
        """Whether there are blocks for ``num_tokens`` more tokens of the sequence, and some to spare."""
        self._price = self.blocks_needed(sequence, num_tokens)
        self._priced = sequence, num_tokens
        return self._price + num_spare_blocks <= self.num_free_blocks

    def add(self, sequence: Sequence | Any, num_tokens: int | Any) -> None:
        """Run the next ``num_tokens`` known tokens of a sequence, admitting it if it waits."""
        sequence = self._checked(sequence, "run")
        if type(num_tokens) is not int or num_tokens < 1:
            raise PlanError(
                f"{sequence!r}: a chunk is a whole number of tokens (int), at least 1; the plan says {num_tokens!r}"
            )
        left = self.tokens_left(sequence)
        if num_tokens > left:
            raise PlanError(f"{sequence!r}: a chunk of {num_tokens} tokens is planned but only {left} are left")
        needed = self._price if self._priced == (sequence, num_tokens) else self.blocks_needed(sequence, num_tokens)
        if needed > self.num_free_blocks:
            raise PlanError(
                f"{sequence!r}: a chunk of {num_tokens} tokens needs {needed} blocks but {self.num_free_blocks} "
                "are free; preempt a running sequence or run fewer tokens"
            )
        self._used.add(sequence)
        self._priced = None
        if sequence._state is State.RUNNING:
            if sequence._request.n > 1 and (shared := self._block_to_copy(sequence)) is not None:
                self._release(shared)
        elif self._pool.prefix_cache and not sequence._host_blocks:
            self._revived = self._revived.union(self._memory.cached_prefix(sequence))
        self.num_free_blocks -= needed
        self.num_tokens += num_tokens
        chunk = Chunk(sequence, num_tokens)
        self.plan.chunks.append(chunk)
        self._passed.append(chunk)

    def can_decode_all(self) -> bool:
        """Whether there are blocks for one more token of every sequence that decodes."""
        if self._decode_price is None:
            self._decode_price = self._memory.blocks_for_decodes()
        return self._decode_price <= self.num_free_blocks

    def decode_all(self) -> None:
        """Run one token of every sequence that decodes."""
        decoding = self._instance.decoding
        for sequence in self._used:
            if sequence in decoding:
                raise PlanError(f"{sequence!r} appears twice in one plan: decode_all includes it")
        if (price := self._decode_price) is None:
            price = self._memory.blocks_for_decodes()
        if price > self.num_free_blocks:
            raise PlanError(
                f"decode_all needs {price} blocks for {len(decoding)} sequences but "
                f"{self.num_free_blocks} are free; preempt some or run fewer"
            )
        self.num_free_blocks -= price
        self.num_tokens += len(decoding)
        self._priced = None
        self.plan.decode_all = self._decodes_all = True

    # preemptions and refusals

    def can_swap(self, sequence: Sequence) -> bool:
        """Whether host memory has room for the blocks of a running sequence."""
        return len(sequence.block_table) <= self.num_free_host_blocks

    def preempt(self, sequence: Sequence | Any, swap: bool | Any = False) -> None:
        """Take a running sequence off the device; its blocks are free for this plan's chunks."""
        sequence = self._checked(sequence, "preempt")
        if type(swap) is not bool:
            raise PlanError(f"{sequence!r} is preempted, and swap must be True or False, it is {swap!r}")
        if sequence.state is not State.RUNNING:
            raise PlanError(f"{sequence!r} is not running, so it cannot be preempted")
        sequence._clock.name_blocks(sequence)
        if swap:
            if not self.can_swap(sequence):
                raise PlanError(
                    f"{sequence!r}: swapping it out needs {len(sequence._block_table)} host blocks but "
                    f"{self.num_free_host_blocks} are free; preempt it by recompute instead"
                )
            self._num_host_blocks += len(sequence._block_table)
        self._used.add(sequence)
        for block in sequence.block_table:
            if self._release(block) == self._pool.references(block) and block not in self._revived:
                self.num_free_blocks += 1
        self._priced, self._is_simple = None, False
        self.plan.preempt.append(Preemption(sequence, swap))

    def refuse(self, sequence: Sequence | Any, reason: str | Any) -> None:
        """Turn away a request that has not begun."""
        sequence = self._checked(sequence, "refuse")
        if not isinstance(reason, str):
            raise PlanError(f"{sequence!r} is refused, and the reason must be a sentence (str), it is {reason!r}")
        if sequence.state is not State.WAITING:
            raise PlanError(f"{sequence!r} has begun, so it cannot be refused any more")
        self._used.add(sequence)
        self._is_simple = False
        self.plan.refuse.append(Refusal(sequence, reason))

    def wake_at(self, time_s: float | Any) -> None:
        """Ask to be called again at ``time_s`` even if nothing happens until then."""
        if not isinstance(time_s, int | float) or not self._instance.now_s < time_s < inf:
            raise PlanError(f"wake_at_s must be a time after now ({self._instance.now_s} s), got {time_s!r}")
        earlier = self.plan.wake_at_s
        self._is_simple = False
        self.plan.wake_at_s = time_s if earlier is None else min(earlier, time_s)

    # inside

    def _checked(self, sequence: Any, verb: str) -> Sequence:
        if not isinstance(sequence, Sequence):
            raise PlanError(f"the plan wants to {verb} {sequence!r}, which is not a sequence")
        instance = self._instance
        if sequence not in instance.running and sequence not in instance.waiting:
            raise PlanError(f"the plan wants to {verb} {sequence!r}, which is not on instance {instance.id}")
        if sequence in instance.busy:
            raise PlanError(f"{sequence!r} is in the pipeline already; it can run again when it comes out")
        if sequence in self._used or (self.plan.decode_all and sequence in instance.decoding):
            raise PlanError(f"{sequence!r} appears twice in one plan")
        return sequence

    def _release(self, block: int) -> int:
        """One reference less; how many the plan has dropped by now."""
        self._released[block] = count = self._released.get(block, 0) + 1
        return count

    def _block_to_copy(self, sequence: Sequence) -> int | None:
        """The block that the next token goes into while others still hold it at this point of the plan, or None.

        Only answers to one prompt share a block that is not full.
        """
        block = self._memory.block_to_write(sequence)
        if block is None or self._pool.references(block) - self._released.get(block, 0) == 1:
            return None
        return block

    def _is_idle(self, block: int) -> bool:
        """Whether a cached block counts as free at this point of the plan."""
        return block not in self._revived and self._pool.references(block) == self._released.get(block, 0)


def validate(plan: Plan | Any, instance: Instance) -> None:
    """Raise PlanError, naming the sequence and the rule, unless the plan can be carried out on the instance."""
    if not isinstance(plan, Plan):
        raise PlanError(f"schedule() must return a Plan, it returned {plan!r}")
    _replay(plan, Draft(instance))


def _replay(plan: Any, draft: Draft) -> None:
    """Draft the plan once more. Nobody has looked into it yet, so its fields may hold anything."""
    if type(plan.holds) is not int or plan.holds < 1:
        raise PlanError(f"a plan holds for at least 1 step, got {plan.holds!r}")
    _check_entries("chunks", plan.chunks, "Chunk(sequence, num_tokens)")
    _check_entries("preempt", plan.preempt, "Preemption(sequence, swap)")
    _check_entries("refuse", plan.refuse, "Refusal(sequence, reason)")
    for sequence, swap in plan.preempt:
        draft.preempt(sequence, swap)
    for sequence, reason in plan.refuse:
        draft.refuse(sequence, reason)
    if plan.decode_all:
        draft.decode_all()
    for sequence, num_tokens in plan.chunks:
        draft.add(sequence, num_tokens)
    if plan.wake_at_s is not None:
        draft.wake_at(plan.wake_at_s)


def _check_entries(name: str, entries: object, kind: str) -> None:
    """Raise PlanError unless ``entries`` is a list of pairs, as `Chunk`, `Preemption` and `Refusal` are."""
    if not isinstance(entries, list | tuple):
        raise PlanError(f"plan.{name} must be a list of {kind}, it is {entries!r}")
    for entry in entries:
        if not isinstance(entry, tuple) or len(entry) != 2:
            raise PlanError(f"plan.{name} must be a list of {kind}, it holds {entry!r}")
