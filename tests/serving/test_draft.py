"""A draft knows what is left once the plan so far is carried out, and says no in a sentence."""

from __future__ import annotations

import pytest

from course.serving.draft import Draft
from course.serving.instance import Instance
from course.serving.plan import Chunk, Plan, PlanError, Preemption
from course.serving.sequence import Sequence
from tests.serving.helpers import Scripted, instance, queue, request, run, with_tokens

TOKENS = list(range(16))


def forked(num_blocks: int, prompt: int, n: int = 2) -> tuple[Instance, list[Sequence]]:
    """An instance on which ``n`` answers share the blocks of one prompt."""
    machine = instance(Scripted(), num_blocks)
    (parent,) = queue(machine, request(0, prompt, 8, n=n))
    run(machine, Plan([Chunk(parent, prompt)]))
    return machine, list(machine.running)


def test_a_draft_counts_blocks_down_as_chunks_are_added():
    machine = instance(Scripted(), num_blocks=5)
    first, second = queue(machine, request(0, 9), request(1, 9))
    draft = Draft(machine)
    assert (draft.tokens_left(first), draft.blocks_needed(first, 9), draft.can_add(second, 9)) == (9, 3, True)
    draft.add(first, 9)
    assert (draft.num_free_blocks, draft.num_tokens) == (2, 9)
    assert not draft.can_add(second, 9)
    assert draft.can_add(second, 8)


def test_drafting_changes_nothing_on_the_instance():
    machine = instance(Scripted(), num_blocks=5)
    (sequence,) = queue(machine, request(0, 9))
    Draft(machine).add(sequence, 9)
    assert machine.memory.pool.num_free_blocks == 5
    assert list(machine.waiting) == [sequence]


@pytest.mark.parametrize("num_tokens", [0, -1, True, 1.0, "1", None])
def test_a_chunk_is_a_whole_number_of_tokens(num_tokens: object):
    machine = instance(Scripted())
    (sequence,) = queue(machine, request(7, 9))
    with pytest.raises(PlanError, match=r"<sequence 7 waiting.*whole number.*at least 1"):
        Draft(machine).add(sequence, num_tokens)  # type: ignore[arg-type]


def test_a_sequence_that_was_turned_down_may_be_added_with_fewer_tokens():
    machine = instance(Scripted(), num_blocks=2)
    (sequence,) = queue(machine, request(0, 12))
    draft = Draft(machine)
    with pytest.raises(PlanError, match="needs 3 blocks but 2 are free"):
        draft.add(sequence, 12)
    draft.add(sequence, 8)
    assert draft.plan.chunks == [Chunk(sequence, 8)]


def test_running_sequences_count_with_all_their_answers():
    machine = instance(Scripted())
    first, second, third = queue(machine, request(0, 4), request(1, 4, n=3), request(2, 4, n=2))
    run(machine, Plan([Chunk(first, 4)]))
    draft = Draft(machine)
    assert draft.num_running == 1
    draft.add(second, 4)
    assert draft.num_running == 4
    draft.preempt(first)
    assert draft.num_running == 3
    draft.add(third, 4)
    assert draft.num_running == 5


# blocks that several hold


def test_the_last_holder_of_a_shared_block_needs_no_copy():
    machine, (parent, sibling) = forked(num_blocks=2, prompt=5)
    draft = Draft(machine)
    assert (draft.blocks_needed(parent, 1), draft.num_free_blocks) == (1, 0)
    draft.preempt(sibling)
    assert draft.blocks_needed(parent, 1) == 0
    draft.add(parent, 1)
    batch = run(machine, draft.plan)
    assert batch.copies == []


def test_of_two_answers_that_write_into_a_shared_block_only_one_copies():
    machine, (parent, sibling) = forked(num_blocks=3, prompt=5)
    draft = Draft(machine)
    draft.add(parent, 1)
    assert draft.blocks_needed(sibling, 1) == 0
    draft.add(sibling, 1)
    assert draft.num_free_blocks == 0
    batch = run(machine, draft.plan)
    assert len(batch.copies) == 1
    assert machine.memory.pool.num_free_blocks == 0


def test_preempting_one_of_two_holders_frees_only_what_it_holds_alone():
    machine, (parent, sibling) = forked(num_blocks=8, prompt=5)
    run(machine, Plan([Chunk(parent, 1), Chunk(sibling, 1)]))  # one block shared, one each of their own
    draft = Draft(machine)
    before = draft.num_free_blocks
    draft.preempt(sibling)
    assert draft.num_free_blocks == before + 1
    draft.preempt(parent)
    assert draft.num_free_blocks == before + 3 == 8


def test_a_copy_and_a_later_preemption_do_not_free_the_shared_block_twice():
    machine, (parent, sibling) = forked(num_blocks=3, prompt=5)
    draft = Draft(machine)
    draft.add(parent, 1)  # takes a copy, lets go of the shared block
    draft.preempt(sibling)  # now frees it and the block before it is still the parent's
    run(machine, draft.plan)
    assert draft.num_free_blocks == machine.memory.pool.num_free_blocks == 1


def with_cached_prefix(num_blocks: int = 8) -> tuple[Instance, Sequence, list[Sequence]]:
    """One sequence runs; two wait whose first two blocks are the same as its."""
    machine = instance(Scripted(), num_blocks, prefix_cache=True)
    alike = [with_tokens(request(k, 9, 8), [*TOKENS[:8], 100 + k], 4) for k in range(3)]
    first, *others = queue(machine, *alike)
    run(machine, Plan([Chunk(first, 9)]))
    return machine, first, others


def test_a_prefix_in_use_costs_nothing_and_a_cached_one_is_paid_once():
    machine, first, (second, third) = with_cached_prefix()
    draft = Draft(machine)
    assert (draft.tokens_left(second), draft.blocks_needed(second, 1)) == (1, 1)
    draft.preempt(first)  # its prefix is now cached, no more in use
    assert draft.num_free_blocks == 8
    assert draft.blocks_needed(second, 1) == 3
    draft.add(second, 1)
    assert draft.blocks_needed(third, 1) == 1
    draft.add(third, 1)
    run(machine, draft.plan)
    assert draft.num_free_blocks == machine.memory.pool.num_free_blocks == 4


def test_a_prefix_that_the_plan_brings_back_is_not_freed_by_a_later_preemption():
    machine, first, (second, _) = with_cached_prefix()
    draft = Draft(machine)
    draft.add(second, 1)
    draft.preempt(first)
    run(machine, draft.plan)
    assert draft.num_free_blocks == machine.memory.pool.num_free_blocks == 5


# swapping and waking


def test_swapping_needs_room_in_host_memory():
    machine = instance(Scripted(), num_host_blocks=3)
    first, second = queue(machine, request(0, 8), request(1, 8))
    run(machine, Plan([Chunk(first, 8), Chunk(second, 8)]))
    draft = Draft(machine)
    draft.preempt(first, swap=True)
    assert draft.num_free_host_blocks == 1
    assert not draft.can_swap(second)
    with pytest.raises(PlanError, match=r"<sequence 1 running.*needs 2 host blocks but 1 are free"):
        draft.preempt(second, swap=True)
    draft.preempt(second)


def test_a_swapped_sequence_needs_all_its_blocks_back():
    machine = instance(Scripted(), num_host_blocks=8)
    (sequence,) = queue(machine, request(0, 8))
    run(machine, Plan([Chunk(sequence, 8)]))
    run(machine, Plan(preempt=[Preemption(sequence, swap=True)]))
    draft = Draft(machine)
    assert (draft.tokens_left(sequence), draft.blocks_needed(sequence, 1)) == (1, 3)


def test_the_earliest_wake_up_counts():
    draft = Draft(instance(Scripted()))
    draft.wake_at(3.0)
    draft.wake_at(2.0)
    draft.wake_at(5)
    assert draft.plan.wake_at_s == 2.0


@pytest.mark.parametrize("time_s", [0.0, -1.0, float("nan"), float("inf"), "soon"])
def test_a_wake_up_lies_ahead(time_s: object):
    with pytest.raises(PlanError, match="wake_at_s must"):
        Draft(instance(Scripted())).wake_at(time_s)  # type: ignore[arg-type]


def test_what_ended_or_is_not_here_cannot_be_planned():
    machine, elsewhere = instance(Scripted()), instance(Scripted(), id=1)
    first, second = queue(machine, request(0, 4, 1), request(1, 4))
    (stranger,) = queue(elsewhere, request(2, 4))
    run(machine, Plan([Chunk(first, 4)]))  # one token was asked for, so it has ended
    for sequence, name in ((first, "<sequence 0 finished"), (stranger, "<sequence 2 waiting")):
        for verb in ("add", "preempt", "refuse"):
            arguments = {"add": (1,), "preempt": (), "refuse": ("no",)}[verb]
            with pytest.raises(PlanError, match=rf"{name}.*not on instance 0"):
                getattr(Draft(machine), verb)(sequence, *arguments)
    with pytest.raises(PlanError, match=r"<sequence 1 waiting.*is not running"):
        Draft(machine).preempt(second)
