"""The search for the largest rate, on systems whose answer is known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.goodput import Goodput, Trial, find_goodput


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


def test_no_limit_at_all():
    found = find_goodput(cliff(math.inf), 0.9, start=1.0)
    assert found.rate == 2.0**20
    assert found.miss == math.inf
    assert found.limits == ()


def test_per_gpu_divides_by_all_gpus():
    assert find_goodput(cliff(9), 0.9, num_gpus=3).per_gpu == pytest.approx(3, rel=0.02)


def test_which_limit_is_the_tight_one():
    trials = (Trial(1.0, 1.0, 1.0, 1.0), Trial(2.0, 0.95, 0.5, 0.45))
    assert Goodput(1.0, 2.0, 0.9, trials).limits == ("TPOT",)
    assert Goodput(1.0, 2.0, 0.4, trials).limits == ()


@pytest.mark.parametrize(
    "options",
    [{"wanted": 0}, {"wanted": 1.1}, {"start": 0}, {"start": math.inf}, {"tolerance": 0}, {"tolerance": math.nan}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError):
        find_goodput(cliff(1.0), **{"wanted": 0.9, **options})
