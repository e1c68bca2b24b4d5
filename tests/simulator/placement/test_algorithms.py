"""DistServe's algorithms on goodputs that are made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.goodput import Goodput
from course.simulator.placement.algorithms import place_pairs, place_singles
from course.simulator.placement.machines import Candidate, Machines, Parallelism, pair_candidates, single_candidates
from course.simulator.shapes import load_shape

SHAPE = load_shape("opt-13b")
P1, P2, D1 = (
    Candidate(Parallelism(1, 1), None),
    Candidate(Parallelism(2, 1), None),
    Candidate(None, Parallelism(1, 1)),
)


def judged(rates):
    return {c: Goodput(rate, 2 * rate or 1.0, 0.9, (), c.num_gpus) for c, rate in rates.items()}


def test_figure_1_two_prefills_feed_one_decode():
    # DistServe, figure 1: 5.6 requests/s for a prefill GPU, 10 for a decode GPU.
    placed = place_singles(judged({P1: 5.6, D1: 10.0}), Machines(3, 3))
    assert (placed.num_prefill, placed.num_decode) == (2, 1)
    assert placed.rate == 10.0
    assert placed.per_gpu == pytest.approx(3.33, abs=0.01)
    assert str(placed.layout) == "node 0  [ P0 | P1 | D0 ]"


def test_the_better_per_gpu_wins_not_the_faster():
    slow, fast = judged({P1: 4.0, P2: 7.0, D1: 10.0}), judged({P1: 4.0, P2: 9.0, D1: 10.0})
    assert place_singles(slow, Machines(4, 4)).unit.prefill == (1, 1)
    assert place_singles(fast, Machines(4, 4)).unit.prefill == (2, 1)


def test_copies_for_a_given_traffic():
    placed = place_singles(judged({P1: 4.0, D1: 10.0}), Machines(8, 4), rate=17.0)
    assert (placed.num_prefill, placed.num_decode) == (5, 2)
    assert placed.rate == 20.0
    assert placed.layout.num_idle == 1


def test_too_much_traffic_says_how_many_gpus_it_needs():
    with pytest.raises(UserError, match=r"100 requests/s need 35 GPUs and there are 8"):
        place_singles(judged({P1: 4.0, D1: 10.0}), Machines(8, 4), rate=100.0)


def test_the_best_pair_that_fits_where_the_best_two_do_not():
    wide = Candidate(None, Parallelism(2, 1))
    placed = place_singles(judged({P2: 9.0, P1: 4.0, wide: 21.0, D1: 10.0}), Machines(3, 3))
    assert placed.unit in {
        Candidate(Parallelism(2, 1), Parallelism(1, 1)),
        Candidate(Parallelism(1, 1), Parallelism(2, 1)),
    }
    assert placed.num_gpus == 3


def test_nothing_is_good_enough():
    with pytest.raises(UserError, match="no candidate keeps the limits"):
        place_singles(judged({P1: 0.0, D1: 10.0}), Machines(4, 4))
    with pytest.raises(UserError, match="no candidate keeps the limits"):
        place_pairs(judged({Candidate(Parallelism(1, 1), Parallelism(1, 1)): 0.0}), Machines(4, 4))


def test_pairs_take_the_best_per_gpu_and_fill_the_nodes():
    small, large = (Candidate(Parallelism(tp, 1), Parallelism(1, 1)) for tp in (1, 2))
    placed = place_pairs(judged({small: 2.0, large: 4.5}), Machines(8, 4))
    assert placed.unit == large
    assert (placed.num_prefill, placed.rate, placed.layout.num_idle) == (2, 9.0, 2)


def test_of_equals_the_smaller_pair():
    small, large = (Candidate(Parallelism(tp, 1), Parallelism(tp, 1)) for tp in (1, 2))
    assert place_pairs(judged({large: 4.0, small: 2.0}), Machines(8, 4)).unit == small


@given(st.data())
def test_no_pair_of_singles_that_fits_is_better_per_gpu(data):
    machines = data.draw(st.sampled_from([Machines(2, 2), Machines(4, 4), Machines(8, 4)]))
    candidates = list(single_candidates(SHAPE, machines))
    rates = data.draw(st.lists(st.floats(0.5, 50), min_size=len(candidates), max_size=len(candidates)))
    known = judged(dict(zip(candidates, rates, strict=True)))
    placed = place_singles(known, machines)

    def gpu_seconds(p, d):
        return p.num_gpus / known[p].rate + d.num_gpus / known[d].rate

    chosen = gpu_seconds(Candidate(placed.unit.prefill, None), Candidate(None, placed.unit.decode))
    for p in (c for c in candidates if c.prefill):
        for d in (c for c in candidates if c.decode):
            if p.num_gpus + d.num_gpus <= machines.gpus_per_node:
                assert chosen <= gpu_seconds(p, d)
    assert placed.per_gpu <= 1 / chosen * (1 + 1e-9)


@given(st.data())
def test_pairs_are_chosen_by_requests_per_gpu(data):
    machines = data.draw(st.sampled_from([Machines(2, 2), Machines(4, 4), Machines(8, 4)]))
    candidates = list(pair_candidates(SHAPE, machines))
    rates = data.draw(st.lists(st.floats(0.5, 50), min_size=len(candidates), max_size=len(candidates)))
    known = judged(dict(zip(candidates, rates, strict=True)))
    placed = place_pairs(known, machines)
    assert known[placed.unit].per_gpu == max(g.per_gpu for g in known.values())
    assert placed.per_gpu == pytest.approx(known[placed.unit].per_gpu)
