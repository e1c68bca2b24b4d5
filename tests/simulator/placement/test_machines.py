"""Candidates: what may be tried at all."""

import pytest

from course.errors import UserError
from course.simulator.placement.machines import (
    Candidate,
    Machines,
    Parallelism,
    pair_candidates,
    single_candidates,
    splits,
)
from course.simulator.shapes import load_shape


def test_splits_share_heads_and_layers_evenly():
    assert splits(load_shape("opt-13b"), 4, 4) == [
        (1, 1),
        (1, 2),
        (1, 4),
        (2, 1),
        (2, 2),
        (4, 1),
    ]  # 40 heads, 40 layers
    assert Parallelism(3, 1) in splits(load_shape("opt-66b"), 8, 8)  # 72 heads
    assert Parallelism(5, 1) not in splits(load_shape("opt-66b"), 8, 8)


def test_algorithm_1_tries_each_phase_alone_and_leaves_room_for_the_other():
    found = list(single_candidates(load_shape("opt-13b"), Machines(4, 4)))
    assert len(found) == len(set(found)) == 6
    assert all((c.prefill is None) != (c.decode is None) for c in found)
    assert max(c.num_gpus for c in found) == 2  # 3 shares neither heads nor layers


def test_a_stage_never_leaves_its_node_but_stages_may():
    found = list(single_candidates(load_shape("opt-175b"), Machines(16, 4)))
    assert max(p.tp for c in found for p in (c.prefill, c.decode) if p) == 4
    assert Candidate(Parallelism(4, 3), None) in found


def test_algorithm_2_on_one_node_of_four():
    found = list(pair_candidates(load_shape("opt-13b"), Machines(4, 4)))
    assert len(found) == len(set(found)) == 9
    assert Candidate(Parallelism(2, 1), Parallelism(1, 1)) in found
    assert all(c.num_gpus <= 4 and c.num_segments == 1 for c in found)


def test_algorithm_2_cuts_both_pipelines_at_the_same_layers():
    found = list(pair_candidates(load_shape("opt-13b"), Machines(8, 4)))
    cut = [c for c in found if c.num_segments == 2]
    assert Candidate(Parallelism(2, 2), Parallelism(1, 2), 2) in cut
    for c in cut:
        assert c.prefill.pp % 2 == c.decode.pp % 2 == 0
        assert c.num_gpus // 2 <= 4


def test_forty_layers_are_not_cut_into_three():
    assert {c.num_segments for c in pair_candidates(load_shape("opt-13b"), Machines(12, 4))} == {1, 2}


def test_candidates_say_what_they_are():
    c = Candidate(Parallelism(2, 2), Parallelism(1, 2), 2)
    assert str(c) == "prefill tp 2, pp 2; decode tp 1, pp 2; over 2 nodes"
    assert c.num_gpus == 6


@pytest.mark.parametrize("sizes", [(0, 1), (4, 0), (6, 4), (10**8, 8)])
def test_machines_that_do_not_add_up_are_refused(sizes):
    with pytest.raises(UserError, match="GPU"):
        Machines(*sizes)
