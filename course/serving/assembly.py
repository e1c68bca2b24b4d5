"""From a plan that can be carried out to the batch that does it: who is admitted, which blocks are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from course.serving.batch import Batch, BlockCopy, ScheduledChunk
from course.serving.plan import Plan, Refusal
from course.serving.sequence import Sequence, State

if TYPE_CHECKING:
    from course.serving.instance import Instance


class Decision(NamedTuple):
    """What a scheduler's plan came to: a batch to run (or none), refusals, and when to ask again.

    ``ask_again`` says that the plan only made room: the scheduler is asked at once what to do with it.
    """

    batch: Batch | None
    refused: list[Refusal]
    wake_at_s: float | None
    ask_again: bool


def assemble(instance: Instance, plan: Plan, batch: Batch) -> None:
    """Put the decodes and the chunks of the plan into the batch. Preemptions have been made already.

    Cached prefixes are taken first: whatever grows may evict them, and the plan counts on them.
    """
    if plan.chunks:
        _admit(instance, plan, batch)
    if plan.decode_all:
        _decode_all(instance, batch)
    if plan.chunks:
        _fill(instance, plan, batch)
    batch.holds = _horizon(instance, plan, batch)


def _decode_all(instance: Instance, batch: Batch) -> None:
    decoding = instance.decoding
    if instance.num_stages > 1:
        idle = [s for s in decoding.members if s not in instance.busy]
        share = -(-len(decoding) // instance.num_stages)  # so that every stage of the pipeline has work
        _decode_alone(instance, batch, idle[:share])
        return
    batch.ticks = True
    batch.decodes = tuple(decoding.members)
    batch.fresh, decoding.fresh = list(decoding.fresh), {}
    batch.num_decode_context_tokens = decoding.num_context_tokens
    batch.copies = instance.memory.grow_decodes()


def _decode_alone(instance: Instance, batch: Batch, sequences: list[Sequence]) -> None:
    """Some of those that decode, or those of one pipeline stage: counted one by one."""
    copies = list(batch.copies)
    for sequence in sequences:
        batch.num_decode_context_tokens += sequence.num_computed_tokens
        copies += instance.memory.grow(sequence, 1)
    batch.decodes += tuple(sequences)
    batch.copies = copies


def _admit(instance: Instance, plan: Plan, batch: Batch) -> None:
    memory = instance.memory
    admitted = [sequence for sequence, _ in plan.chunks if sequence._state is not State.RUNNING]
    for sequence in admitted:
        if not sequence._host_blocks:
            memory.take_prefix(sequence)
            instance.num_pending_tokens -= sequence._num_computed
    swap_in: list[BlockCopy] = []
    for sequence in admitted:
        if sequence._host_blocks:
            swap_in += memory.swap_in(sequence)
        del instance.waiting[sequence]
        instance.running[sequence] = None
        sequence._move_to(State.RUNNING)
    batch.swap_in = swap_in


def _fill(instance: Instance, plan: Plan, batch: Batch) -> None:
    decoding = instance.decoding.members
    if alone := [sequence for sequence, _ in plan.chunks if sequence in decoding]:
        _decode_alone(instance, batch, alone)
    copies = list(batch.copies)
    for sequence, num_tokens in plan.chunks:
        if alone and sequence in decoding:
            continue
        copies += instance.memory.grow(sequence, num_tokens)
        start = sequence._num_computed
        samples: tuple[Sequence, ...] = ()
        if start + num_tokens == sequence.num_known_tokens:
            samples = (sequence, *sequence._siblings)
        batch.prompts.append(ScheduledChunk(sequence, start, num_tokens, sequence._block_table, samples))
    batch.copies = copies


def _horizon(instance: Instance, plan: Plan, batch: Batch) -> int:
    """For how many steps the batch may run: as long as the plan holds and blocks surely last.

    Each sequence takes at most one block in ``block_size`` steps. When the first answer ends is for those to
    say who know it.
    """
    if plan.holds == 1 or not (batch.ticks and batch.only_decodes):
        return 1
    pool = instance.memory.pool
    return min(plan.holds, 1 + pool.num_free_blocks // len(batch.decodes) * pool.block_size)
