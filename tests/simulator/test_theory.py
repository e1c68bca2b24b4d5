"""Formulas against the numbers that follow from DistServe's section 3.1, and against one another."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.theory import (
    crossover_load,
    max_rate,
    md1_wait_s,
    mean_ttft_inter_op_s,
    mean_ttft_intra_op_s,
    mean_ttft_s,
    mm1_wait_s,
)

loads = st.floats(0.01, 0.95)
speedups = st.floats(1.01, 1.99)


def test_spot_values_at_one_second_per_prefill():
    assert mean_ttft_s(0.8, 1.0) == pytest.approx(3.0)
    assert mean_ttft_inter_op_s(0.8, 1.0) == pytest.approx(1.167, abs=5e-4)
    assert mean_ttft_intra_op_s(0.8, 1.0, 1.5) == pytest.approx(1.048, abs=5e-4)
    assert mean_ttft_intra_op_s(0.8, 1.0, 1.7) == pytest.approx(0.850, abs=5e-4)
    assert mean_ttft_s(0.95, 1.0) == pytest.approx(10.5)
    assert mean_ttft_inter_op_s(0.95, 1.0) == pytest.approx(1.226, abs=5e-4)
    assert mean_ttft_intra_op_s(0.95, 1.0, 1.5) == pytest.approx(1.242, abs=5e-4)
    assert mean_ttft_intra_op_s(0.95, 1.0, 1.7) == pytest.approx(0.961, abs=5e-4)


@pytest.mark.parametrize(
    ("speedup", "load"),
    [(1.2, 0.43), (1.3, 0.61), (1.4, 0.78), (1.5, 0.94), (1.6, 1.09), (1.7, 1.26), (1.8, 1.43), (1.9, 1.63)],
)
def test_crossovers(speedup, load):
    assert crossover_load(speedup) == pytest.approx(load, abs=5e-3)


@given(speedups, st.floats(0.001, 10))
def test_the_two_parallelisms_are_equal_at_the_crossover_and_swap_there(speedup, prefill_s):
    rate = crossover_load(speedup) / prefill_s
    both = mean_ttft_inter_op_s(rate, prefill_s), mean_ttft_intra_op_s(rate, prefill_s, speedup)
    assert both[0] == pytest.approx(both[1], rel=1e-6)
    less, more = 0.9 * rate, min(1.02 * rate, (rate + max_rate(prefill_s, speedup=speedup)) / 2)
    assert mean_ttft_intra_op_s(less, prefill_s, speedup) < mean_ttft_inter_op_s(less, prefill_s)
    assert mean_ttft_intra_op_s(more, prefill_s, speedup) > mean_ttft_inter_op_s(more, prefill_s)


@given(loads, st.floats(0.001, 10))
def test_the_equations_as_printed(load, d):
    r = load / d
    assert mean_ttft_s(r, d) == pytest.approx(d + r * d**2 / (2 * (1 - r * d)))
    assert mean_ttft_inter_op_s(r, d) == pytest.approx(d + r * d**2 / (4 * (2 - r * d)))
    assert mean_ttft_intra_op_s(r, d, 1.6) == pytest.approx(d / 1.6 + r * d**2 / (2 * 1.6 * (1.6 - r * d)))


@given(loads)
def test_random_service_doubles_the_wait(load):
    assert mm1_wait_s(load, 1.0) == pytest.approx(load / (1 - load)) == pytest.approx(2 * md1_wait_s(load, 1.0))


def test_stability_limits():
    d, k = 0.1, 1.5
    for ttft, limit in (
        (lambda rate: mean_ttft_s(rate, d), max_rate(d)),
        (lambda rate: mean_ttft_inter_op_s(rate, d), max_rate(d, num_stages=2)),
        (lambda rate: mean_ttft_intra_op_s(rate, d, k), max_rate(d, speedup=k)),
        (lambda rate: mean_ttft_s(rate, d, num_replicas=3), 3 * max_rate(d)),
    ):
        assert ttft(0.999 * limit) > 10 * d
        assert ttft(1.001 * limit) == math.inf


@pytest.mark.parametrize(
    "call",
    [
        lambda: md1_wait_s(-1, 1),
        lambda: md1_wait_s(1, 0),
        lambda: mean_ttft_intra_op_s(1, 1, 2.5),
        lambda: crossover_load(0.9),
        lambda: mean_ttft_s(1, 1, num_replicas=0),
        lambda: max_rate(0),
    ],
)
def test_impossible_settings_are_refused(call):
    with pytest.raises(UserError):
        call()
