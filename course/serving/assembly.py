"""From a plan that can be carried out to the batch that does it: who is admitted, which blocks are taken."""

from __future__ import annotations

from collections.abc import Sequence as List
from typing import TYPE_CHECKING

from course.serving.batch import Batch, BlockCopy, ScheduledChunk
from course.serving.plan import Plan
from course.serving.sequence import Sequence, State

if TYPE_CHECKING:
    from course.serving.instance import Instance


def assemble(instance: Instance, plan: Plan, step: int, swap_out: List[BlockCopy]) -> Batch:
    """The batch of a plan whose preemptions have been made already.

    Cached prefixes are taken first: whatever grows may evict them, and the plan counts on them.
    """
    batch = Batch(instance.id, step)
    if swap_out:
        batch.swap_out = swap_out
    if plan.chunks:
        _admit(instance, plan, batch)
    if plan.decode_all:
        _decode_all(instance, batch)
    if plan.chunks:
        _fill(instance, plan, batch)
    if batch.decodes and not (batch.prompts or batch.copies or batch.swap_in or swap_out):
        batch.only_decodes = True
        if plan.holds > 1 and batch.ticks:
            batch.holds = _horizon(instance, plan, batch)
    return batch


def _decode_all(instance: Instance, batch: Batch) -> None:
    decoding = instance.decoding
    if instance.num_stages > 1:
        idle = [s for s in decoding.members if s not in instance.busy]
        share = -(-len(decoding) // instance.num_stages)  # so that every stage of the pipeline has work
        _decode_alone(instance, batch, idle[:share])
        return
    batch.ticks = True
    batch.decodes = tuple(decoding.members)
    if decoding.fresh:
        batch.fresh, decoding.fresh = decoding.fresh, []
    batch.num_decode_context_tokens = decoding.num_context_tokens
    if copies := instance.memory.grow_decodes():
        batch.copies = copies


def _decode_alone(instance: Instance, batch: Batch, sequences: list[Sequence]) -> None:
    """Some of those that decode, or those of one pipeline stage: counted one by one."""
    copies, memory = list(batch.copies), instance.memory
    for sequence in sequences:
        num_tokens = sequence._num_computed + sequence._clock.steps
        batch.num_decode_context_tokens += num_tokens
        if sequence._request.n > 1 or num_tokens % memory.pool.block_size == 0:  # otherwise there is room in its block
            copies += memory.grow(sequence, 1)
    batch.decodes += tuple(sequences)
    batch.copies = copies


def _admit(instance: Instance, plan: Plan, batch: Batch) -> None:
    memory = instance.memory
    admitted = [sequence for sequence, _ in plan.chunks if sequence._state is not State.RUNNING]
    for sequence in admitted:
        if not sequence._host_blocks:
            memory.take_prefix(sequence)
            instance.num_pending_tokens -= sequence._num_computed
    for sequence in admitted:
        if sequence._host_blocks:
            batch.swap_in = [*batch.swap_in, *memory.swap_in(sequence)]
        del instance.waiting[sequence]
        instance.running[sequence] = None
        sequence._move_to(State.RUNNING)


def _fill(instance: Instance, plan: Plan, batch: Batch) -> None:
    decoding = instance.decoding.members
    alone: list[Sequence] = []
    if decoding and (alone := [sequence for sequence, _ in plan.chunks if sequence in decoding]):
        _decode_alone(instance, batch, alone)
    batch.prompts = prompts = []
    for sequence, num_tokens in plan.chunks:
        if alone and sequence in decoding:
            continue
        if copies := instance.memory.grow(sequence, num_tokens):
            batch.copies = [*batch.copies, *copies]
        start = sequence._num_computed
        samples: tuple[Sequence, ...] = ()
        if start + num_tokens == sequence._request.num_prompt_tokens + sequence._num_output:
            samples = (sequence, *sequence._siblings)
        prompts.append(ScheduledChunk(sequence, start, num_tokens, sequence._block_table, samples))


def _horizon(instance: Instance, plan: Plan, batch: Batch) -> int:
    """For how many steps the batch may run: as long as the plan holds and blocks surely last.

    Each sequence takes at most one block in ``block_size`` steps. When the first answer ends is for those to
    say who know it.
    """
    pool = instance.memory.pool
    return min(plan.holds, 1 + pool.num_free_blocks // len(batch.decodes) * pool.block_size)
