"""Memory that is set aside, and what of it holds tokens: against the paper, and against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.costs.fitted import FittedCost
from course.simulator.linear import LinearCost
from course.simulator.reservation import WAYS, Room, power_of_two, serve, set_aside
from course.workload.arrivals import poisson_arrivals
from course.workload.lengths import Lengths, Lognormal, fixed_lengths, lognormal_lengths

COST = LinearCost(step_s=1.0, token_s=0.0, context_token_s=0.0)


def test_what_is_set_aside() -> None:
    assert [power_of_two(n) for n in (1, 2, 3, 8, 9)] == [1, 2, 4, 8, 16]
    assert [set_aside(way, 100, 50, 2048) for way in WAYS[:3]] == [2048, 164, 150]
    assert set_aside("pow2", 1900, 130, 2048) == 2048


@pytest.mark.parametrize(("way", "most"), [("max", 2), ("pow2", 4), ("oracle", 8), ("paged", 9)])
def test_how_many_fit(way: str, most: int) -> None:
    """Prompts of 19 and answers of 9: 64, 35 → 64, 28 → 32 of 256 slots; and 7 of 64 blocks of 4, when they end."""
    lengths = fixed_lengths(40, 19, 9)
    context = 128 if way == "max" else 64
    if way == "pow2":
        context = 2048
    served = serve(way, lengths, [0.0] * 40, Room(256, 4, context), COST)
    assert all(record.finished for record in served.records)
    if way == "paged":
        assert most <= served.most <= 256 // 20
    else:
        assert served.most == most


def test_shares_by_hand() -> None:
    """One request of 3 + 5 tokens in 32 slots: the prompt is in the cache after step 1, then one more each."""
    alone = Lengths(np.array([3]), np.array([5]))
    use = serve("max", alone, [0.0], Room(32, 4, 16), COST).use
    held = [0, 3, 4, 5, 6]  # while steps 1 … 5 run
    assert use.states == pytest.approx(sum(held) / 5 / 32)
    assert use.reserved == pytest.approx((8 - sum(held) / 5) / 32)
    assert use.internal == pytest.approx(8 / 32)
    assert use.other == pytest.approx(16 / 32)
    assert use.batch == 1
    paged = serve("paged", alone, [0.0], Room(32, 4, 16), COST).use
    assert paged.states == use.states
    assert paged.internal == pytest.approx((sum([4, 4, 8, 8, 8]) - sum(held)) / 5 / 32)


@given(
    seed=st.integers(0, 99),
    num=st.integers(1, 12),
    rate=st.sampled_from([0.05, 0.5, 5.0]),
    num_slots=st.integers(64, 400),
    block_size=st.sampled_from([1, 3, 16]),
    way=st.sampled_from(WAYS),
)
@example(seed=4, num=3, rate=0.05, num_slots=64, block_size=1, way="max")
@settings(max_examples=60, deadline=None)
def test_many_steps_at_once_change_nothing(
    seed: int, num: int, rate: float, num_slots: int, block_size: int, way: str
) -> None:
    lengths = lognormal_lengths(num, Lognormal(12, 0.6, 1, 30), Lognormal(12, 0.6, 1, 30), seed)
    arrivals_s = poisson_arrivals(num, rate, seed).tolist()
    room = Room(num_slots // 64 * 64, block_size, 64)
    one, many = (serve(way, lengths, arrivals_s, room, COST, single_step=single) for single in (True, False))
    assert [list(r.token_times_s) for r in one.records] == [list(r.token_times_s) for r in many.records]
    assert one.most == many.most
    assert list(many.use) == pytest.approx(list(one.use), abs=0.02)
    assert sum(many.use[:4]) == pytest.approx(1)
    assert min(many.use) > -1e-9


def test_the_paper_s_shares_come_out() -> None:
    """Figure 2: tokens in 20.4, 26.8 and 38.2 % of the memory; within four points, as lengths are a stand-in."""
    lengths = lognormal_lengths(600, Lognormal(98, 1.0, 4, 1024), Lognormal(245, 0.8, 4, 1024))
    arrivals_s = poisson_arrivals(600, 2.0).tolist()
    cost = FittedCost("vllm-a100", "opt-13b")
    shares = [serve(way, lengths, arrivals_s, Room(15_700), cost).use.states for way in WAYS[:3]]
    assert shares == pytest.approx([0.204, 0.268, 0.382], abs=0.04)


def test_an_unknown_way_is_named() -> None:
    with pytest.raises(UserError, match="'buddy'; there are max, pow2, oracle, paged"):
        serve("buddy", fixed_lengths(1, 1, 1), [0.0], Room(64), COST)
