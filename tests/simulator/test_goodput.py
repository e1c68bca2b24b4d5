"""The search for the largest rate, on systems whose answer is known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.experiment.build import Setup
from course.simulator.experiment.load import load_experiment
from course.simulator.goodput import Goodput, Trial, find_goodput, goodput, max_useful_rate
from course.simulator.simulate import simulate
from course.workload.slo import SLO


def cliff(limit, tried=None):
    """All requests are good up to ``limit`` requests/s, none above it."""

    def attainment(rate):
        if tried is not None:
            tried.append(rate)
        share = float(rate <= limit)
        return Trial(rate, share, 1.0, share)

    return attainment


@given(st.floats(0.01, 1000), st.floats(0.1, 100), st.floats(0.001, 0.5))
def test_it_finds_the_limit_from_any_start(limit, start, tolerance):
    found = find_goodput(cliff(limit), 0.9, start=start, tolerance=tolerance)
    if start / 2**10 > limit:
        assert found.rate == 0
    else:
        assert found.rate <= limit < found.miss <= found.rate * (1 + tolerance)


@given(st.floats(0.01, 1000), st.floats(0.1, 100))
def test_no_rate_is_tried_twice_and_the_curve_is_in_order(limit, start):
    tried = []
    found = find_goodput(cliff(limit, tried), 0.9, start=start)
    assert len(set(tried)) == len(tried)
    assert [trial.rate for trial in found.trials] == sorted(tried)


def test_rates_are_easy_to_type_again():
    found = find_goodput(cliff(5.3), 0.9, start=1.0, tolerance=0.02)
    assert found.rate == 5.25
    assert found.miss == 5.3125


def test_a_smooth_curve_is_cut_where_it_crosses_the_goal():
    found = find_goodput(lambda rate: Trial(rate, 1.0, 1.0, 1 / (1 + rate)), 0.25, tolerance=0.001)
    assert found.rate == pytest.approx(3.0, rel=0.001)


def test_the_goal_itself_is_good_enough():
    found = find_goodput(lambda rate: Trial(rate, 1.0, 1.0, 0.9 if rate <= 2 else 0.8), 0.9)
    assert found.rate == 2


def test_not_even_a_low_rate():
    found = find_goodput(cliff(0.0), 0.9, start=1.0)
    assert (found.rate, found.per_gpu) == (0, 0)
    assert found.limits == ("TTFT",)


def test_no_limit_up_to_the_highest_rate_worth_trying():
    found = find_goodput(cliff(math.inf), 0.9, start=1.0, max_rate=100.0)
    assert (found.rate, found.miss, found.limits) == (100.0, math.inf, ())
    assert find_goodput(cliff(math.inf), 0.9, start=1000.0, max_rate=100.0).rate == 100.0


@given(st.floats(0.01, 1000), st.floats(0.1, 100), st.floats(0.1, 2000))
def test_no_higher_rate_is_tried(limit, start, highest):
    tried = []
    found = find_goodput(cliff(limit, tried), 0.9, start=start, max_rate=highest)
    assert max(tried) <= highest
    assert found.rate <= min(limit, highest)


def test_per_gpu_divides_by_all_gpus():
    assert find_goodput(cliff(9), 0.9, num_gpus=3).per_gpu == pytest.approx(3, rel=0.02)


def test_which_limit_is_the_tight_one():
    trials = (Trial(1.0, 1.0, 1.0, 1.0), Trial(2.0, 0.95, 0.5, 0.45))
    assert Goodput(1.0, 2.0, 0.9, trials).limits == ("TPOT",)
    assert Goodput(1.0, 2.0, 0.4, trials).limits == ()


def test_it_ends_where_no_number_lies_between():
    found = find_goodput(cliff(5.3), 0.9, tolerance=1e-18)
    assert found.rate <= 5.3 < found.miss == math.nextafter(found.rate, 6)


@pytest.mark.parametrize(
    "options",
    [{"wanted": 0}, {"wanted": 1.1}, {"start": 0}, {"start": math.inf}, {"tolerance": 0}, {"tolerance": math.nan}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError):
        find_goodput(cliff(1.0), **{"wanted": 0.9, **options})


def experiment(*changes):
    """Forty equal requests on a prefill and a decode instance."""
    lengths = ["workload.lengths=", "workload.prompt_tokens=512", "workload.output_tokens=32", "workload.requests=40"]
    return load_experiment("simdistserve-disaggregated", [*lengths, *changes])


def test_of_an_experiment_and_what_simulate_says_of_the_same_rates():
    found = goodput(experiment())
    at_best = simulate(experiment(f"workload.rate={found.rate}")).attainment()
    above = simulate(experiment(f"workload.rate={found.miss}")).attainment()
    assert at_best.both >= 0.9 > above.both
    assert found.num_gpus == 2
    curve = {trial.rate: trial for trial in found.trials}
    assert curve[found.rate] == (found.rate, at_best.ttft, at_best.tpot, at_best.both)


def test_looser_limits_and_more_instances_allow_more():
    base = goodput(experiment()).rate
    assert goodput(experiment("slo.ttft=0.4")).rate > base
    assert goodput(experiment("instances.0.count=2")).rate > base


def test_the_highest_rate_worth_trying_has_all_requests_there_at_once():
    workload = Setup(experiment()).workload  # 33 tokens: one more than the list says
    assert max_useful_rate(workload, SLO(0.2, 0.1)) == pytest.approx(40 / (0.2 + 33 * 0.1))
    assert max_useful_rate(workload, SLO(0.2, math.inf)) == pytest.approx(40 / 0.2)


def test_requests_that_all_come_at_once_have_no_rate():
    with pytest.raises(UserError, match="all-at-once"):
        goodput(experiment("workload.arrivals=all-at-once"))
