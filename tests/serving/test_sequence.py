"""Two counters and a state that only moves forward."""

from __future__ import annotations

from itertools import product

import pytest

from course.serving.sequence import IllegalMoveError, Sequence, State
from tests.serving.helpers import request

LEGAL = {
    State.WAITING: "RUNNING FAILED REFUSED CANCELLED",
    State.RUNNING: "PREEMPTED FINISHED FAILED CANCELLED",
    State.PREEMPTED: "RUNNING FAILED CANCELLED",
}
FINAL = {State.FINISHED, State.FAILED, State.REFUSED, State.CANCELLED}


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_states_move_only_as_drawn(before: State, after: State):
    sequence = Sequence(request(3, 5), rank=0)
    sequence._state = before
    if after.name in LEGAL.get(before, "").split():
        sequence._move_to(after)
        assert sequence.state is after
    else:
        with pytest.raises(IllegalMoveError, match=rf"<sequence 3 {before.value}.*cannot become {after.value}"):
            sequence._move_to(after)
        assert sequence.state is before
    assert sequence.is_ended == (sequence.state in FINAL)


@pytest.mark.parametrize("name", [name for name, value in vars(Sequence).items() if isinstance(value, property)])
def test_a_scheduler_that_assigns_fails_at_that_line(name: str):
    with pytest.raises(AttributeError):
        setattr(Sequence(request(0, 5), rank=0), name, None)


def test_the_last_token_is_never_fed_back():
    assert Sequence(request(0, 5, 1), rank=0).num_tokens_at_most == 5
    assert Sequence(request(0, 5, 4), rank=0).num_tokens_at_most == 8


def test_a_prompt_stands_for_all_its_answers():
    sequence = Sequence(request(4, 5, n=3), rank=9)
    assert sequence.num_slots == 3
    assert sequence.id == (4, 0)
    assert [s.id for s in sequence._siblings] == [(4, 1), (4, 2)]
    assert {s.rank for s in sequence._siblings} == {9}
    assert {s.num_slots for s in sequence._siblings} == {1}


def test_a_sequence_tells_who_it_is_and_how_far_it_got():
    assert repr(Sequence(request(4, 5), rank=0)) == "<sequence 4 waiting: 0 of 5 tokens computed>"
    assert "4.0 waiting" in repr(Sequence(request(4, 5, n=2), rank=0))


def test_what_a_scheduler_reads_of_the_blocks_is_a_copy():
    sequence = Sequence(request(0, 5), rank=0)
    sequence._block_table = [3, 1]
    assert sequence.block_table == (3, 1)
    assert isinstance(sequence.block_table, tuple)


def test_sequences_are_told_apart_by_identity():
    first, second = Sequence(request(0, 5), rank=0), Sequence(request(0, 5), rank=0)
    assert first != second
    assert len({first, second}) == 2
