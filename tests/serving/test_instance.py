"""An instance carries plans out whole or not at all, and keeps its books."""

from __future__ import annotations

from typing import Any

import pytest

from course.errors import UserError
from course.serving.batch import Batch, TokenResult
from course.serving.instance import Instance
from course.serving.plan import Chunk, Plan, PlanError, Preemption, Refusal
from course.serving.sequence import Sequence, State
from course.serving.view import InstanceView
from tests.serving.helpers import Scripted, finish, instance, queue, request, run


def decide(machine: Instance, plan: Any, now_s: float = 0.0) -> Any:
    machine.scheduler.plans.append(plan)
    _, batch = machine.schedule(now_s)
    machine.check_integrity()
    return batch


# plans that are no plans


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (None, "must return a Plan"),
        ([], "must return a Plan"),
        ("run", "must return a Plan"),
        (Plan, "must return a Plan"),
    ],
)
def test_only_a_plan_is_a_plan(plan: Any, sentence: str):
    with pytest.raises(PlanError, match=sentence):
        decide(instance(Scripted()), plan)


@pytest.mark.parametrize("field", ["chunks", "preempt", "refuse"])
@pytest.mark.parametrize("how", ["bare", "short", "none", "number"])
def test_an_entry_of_the_wrong_shape_is_named(field: str, how: str):
    machine = instance(Scripted())
    (sequence,) = queue(machine, request(5, 4))
    value: Any = {"bare": [sequence], "short": [(sequence,)], "none": None, "number": [3]}[how]
    with pytest.raises(PlanError, match=rf"{field}.*(Chunk|Preemption|Refusal)"):
        decide(machine, Plan(**{field: value}))
    assert decide(machine, Plan([Chunk(sequence, 4)]))


def test_a_preemption_may_be_written_as_a_pair():
    machine = instance(Scripted())
    (sequence,) = queue(machine, request(5, 4))
    run(machine, Plan([(sequence, 4)]))  # type: ignore[list-item]
    assert decide(machine, Plan(preempt=[(sequence, False)])) is None  # type: ignore[list-item]
    assert sequence.state is State.PREEMPTED


# carrying out


def test_preemptions_free_their_blocks_for_the_chunks_of_the_same_plan():
    machine = instance(Scripted(), num_blocks=2)
    first, second = queue(machine, request(0, 8), request(1, 8))
    run(machine, Plan([Chunk(first, 8)]))
    run(machine, Plan([Chunk(second, 8)], preempt=[Preemption(first)]))
    assert list(machine.running) == [second]
    assert list(machine.waiting) == [first]
    assert first.num_computed_tokens == 0
    assert first.num_preemptions == 1


def test_a_batch_counts_steps_and_tokens():
    machine = instance(Scripted())
    first, second = queue(machine, request(0, 8), request(1, 5))
    batches = [run(machine, Plan([Chunk(first, 8), Chunk(second, 2)])), run(machine, Plan([Chunk(second, 3)]))]
    assert [batch.step for batch in batches] == [0, 1]
    assert [batch.num_tokens for batch in batches] == [10, 3]


def test_a_plan_that_only_swaps_out_runs_a_batch_of_copies():
    machine = instance(Scripted(), num_host_blocks=4)
    (sequence,) = queue(machine, request(0, 8))
    run(machine, Plan([Chunk(sequence, 8)]))
    batch = run(machine, Plan(preempt=[Preemption(sequence, swap=True)]))
    assert batch.chunks == []
    assert len(batch.swap_out) == 2
    batch = run(machine, Plan([Chunk(sequence, 1)]))
    assert [c.source for c in batch.swap_in] == [0, 1]
    assert batch.chunks[0].start == 8
    assert len(batch.chunks[0].block_table) == 3


def test_a_refused_request_leaves_the_queue():
    machine = instance(Scripted())
    first, second = queue(machine, request(0, 8), request(1, 8))
    batch = decide(machine, Plan([Chunk(second, 8)], refuse=[Refusal(first, "too old")]))
    assert [chunk.sequence for chunk in batch.chunks] == [second]
    assert first.state is State.REFUSED
    assert not machine.waiting


def test_an_answer_ends_at_its_limit_or_where_the_data_plane_says():
    machine = instance(Scripted())
    first, second = queue(machine, request(0, 4, 2), request(1, 4, 9))
    run(machine, Plan([Chunk(first, 4), Chunk(second, 4)]))
    batch = decide(machine, Plan([Chunk(first, 1), Chunk(second, 1)]))
    assert finish(machine, batch, last=(second,)) == [first, second]
    assert machine.memory.pool.num_used_blocks == 0


def test_a_batch_that_does_not_run_cannot_be_completed():
    with pytest.raises(RuntimeError, match="instance 0 completed a batch that it does not run"):
        instance(Scripted()).complete(Batch(0, 0), [])


# endings while a batch runs


def test_blocks_of_a_cancelled_sequence_stay_reserved_while_its_batch_writes_them():
    machine = instance(Scripted())
    first, second = queue(machine, request(0, 8), request(1, 8))
    batch = decide(machine, Plan([Chunk(first, 8), Chunk(second, 8)]))
    machine.end(first, State.CANCELLED)
    machine.check_integrity()
    assert machine.memory.pool.num_used_blocks == 4
    ended, _ = machine.complete(batch, [TokenResult(first), TokenResult(second)])
    assert ended == []
    assert first.num_output_tokens == 0
    assert machine.memory.pool.num_used_blocks == 2
    assert batch.chunks[0].sequence is first


def test_a_sequence_outside_the_running_batch_gives_its_blocks_back_at_once():
    machine = instance(Scripted())
    first, second = queue(machine, request(0, 8), request(1, 8))
    run(machine, Plan([Chunk(first, 8)]))
    decide(machine, Plan([Chunk(second, 8)]))
    machine.end(first, State.CANCELLED)
    machine.check_integrity()
    assert machine.memory.pool.num_used_blocks == 2


def test_a_prompt_cancelled_while_it_would_fork_forks_nothing():
    machine = instance(Scripted())
    (parent,) = queue(machine, request(0, 6, n=3))
    siblings = parent._siblings
    batch = decide(machine, Plan([Chunk(parent, 6)]))
    for each in (parent, *siblings):
        machine.end(each, State.CANCELLED)
    assert machine.complete(batch, [TokenResult(s) for s in (parent, *siblings)]) == ([], [])
    assert machine.memory.pool.num_used_blocks == 0
    machine.check_integrity()


def test_all_answers_fork_when_the_prompt_is_computed_and_share_its_blocks():
    machine = instance(Scripted())
    (parent,) = queue(machine, request(0, 6, n=3))
    assert run(machine, Plan([Chunk(parent, 5)])).chunks[0].samples == ()
    batch = run(machine, Plan([Chunk(parent, 1)]))
    assert [s.id for s in batch.chunks[0].samples] == [(0, 0), (0, 1), (0, 2)]
    assert [s.id for s in machine.running] == [(0, 0), (0, 1), (0, 2)]
    assert machine.memory.pool.num_used_blocks == 2
    assert {s.num_output_tokens for s in machine.running} == {1}


def test_a_prompt_preempted_before_its_end_forks_when_it_is_computed_again():
    machine = instance(Scripted())
    (parent,) = queue(machine, request(0, 6, n=2))
    run(machine, Plan([Chunk(parent, 5)]))
    decide(machine, Plan(preempt=[Preemption(parent)]))
    run(machine, Plan([Chunk(parent, 6)]))
    assert [s.id for s in machine.running] == [(0, 0), (0, 1)]


# the queue


def test_preempted_sequences_wait_at_the_head_in_order_of_arrival():
    machine = instance(Scripted())
    sequences = queue(machine, *(request(k, 4) for k in range(5)))
    run(machine, Plan([Chunk(s, 4) for s in sequences[:4]]))
    decide(machine, Plan(preempt=[Preemption(sequences[3])]))
    decide(machine, Plan(preempt=[Preemption(sequences[2]), Preemption(sequences[0])]))
    assert [s.request.id for s in machine.waiting] == [0, 2, 3, 4]
    decide(machine, Plan(preempt=[Preemption(sequences[1])]))
    assert [s.request.id for s in machine.waiting] == [0, 1, 2, 3, 4]


def test_who_comes_from_a_lost_instance_waits_in_order_of_arrival():
    machine = instance(Scripted())
    queue(machine, request(10, 4), request(12, 4), rank=10)
    for rank, state in ((11, State.WAITING), (3, State.PREEMPTED), (4, State.WAITING), (1, State.PREEMPTED)):
        sequence = Sequence(request(rank, 4), rank)
        sequence._state = state
        machine.enqueue(sequence)
    assert [s.rank for s in machine.waiting] == [1, 3, 4, 10, 11, 11]


# the view


def test_queues_are_read_like_lists_but_cannot_be_changed():
    machine = instance(Scripted())
    sequences = queue(machine, *(request(k, 4) for k in range(3)))
    waiting = InstanceView(machine, 0.0).waiting
    assert [waiting[0], waiting[2], waiting[-1], waiting[-3]] == [sequences[k] for k in (0, 2, 2, 0)]
    assert waiting[:2] == sequences[:2]
    assert waiting[::-1] == sequences[::-1]
    assert list(waiting) == sequences
    assert len(waiting) == 3
    assert sequences[1] in waiting
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"no sequence at {index}: the queue has 3"):
            waiting[index]
    with pytest.raises(IndexError, match="no sequence at -1: the queue has 0"):
        InstanceView(machine, 0.0).running[-1]
    with pytest.raises(TypeError):
        waiting[0] = sequences[1]  # type: ignore[index]
    assert not hasattr(waiting, "append")


def test_a_view_answers_what_a_plan_would_cost():
    machine = instance(Scripted(), num_blocks=10, num_host_blocks=5)
    (sequence,) = queue(machine, request(0, 9))
    view = InstanceView(machine, 2.5)
    assert (view.now_s, view.block_size, view.num_blocks, view.num_free_blocks) == (2.5, 4, 10, 10)
    assert (view.num_free_host_blocks, view.blocks_for(9)) == (5, 3)
    assert (view.tokens_left(sequence), view.blocks_needed(sequence, 5)) == (9, 2)
    run(machine, Plan([Chunk(sequence, 9)]))
    assert (view.tokens_left(sequence), view.blocks_needed(sequence, 1)) == (1, 0)


# never


def test_what_can_never_fit_is_said_with_a_remedy():
    machine = instance(Scripted(), num_blocks=3)
    (fits, too_long) = queue(instance(Scripted()), request(0, 8, 5), request(1, 8, 6))
    assert machine.why_never(fits) is None, "12 tokens: the last of the answer is never fed back"
    assert machine.why_never(too_long) == (
        "request 1 may need 13 tokens = 4 blocks of 4 but instance 0 has 3; give it more blocks or ask for fewer tokens"
    )


def test_a_prefill_instance_needs_room_for_the_prompt_only():
    (sequence,) = queue(instance(Scripted()), request(0, 8, 50))
    assert instance(Scripted(), 2, role="prefill").why_never(sequence) is None
    assert instance(Scripted(), 2, role="decode").why_never(sequence)


def test_an_unknown_role_is_named():
    with pytest.raises(UserError, match=r"'prefil'.*mixed, prefill or decode"):
        instance(Scripted(), role="prefil")
