import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.workload.arrivals import all_at_once, constant_arrivals, gamma_arrivals, poisson_arrivals

rates = st.floats(0.01, 1000)
nums = st.integers(1, 300)
seeds = st.integers(0, 2**32)


@given(nums, rates, st.floats(0.05, 50), seeds, st.booleans())
@settings(max_examples=100, deadline=None)
def test_times_are_sorted_positive_and_repeatable(num, rate, burstiness, seed, exact_total):
    times = gamma_arrivals(num, rate, burstiness, seed, exact_total=exact_total)
    assert times.shape == (num,)
    assert (np.diff(times) >= 0).all()
    assert (times >= 0).all()
    assert (times == gamma_arrivals(num, rate, burstiness, seed, exact_total=exact_total)).all()


@given(nums, rates, st.floats(0.05, 50), seeds)
@settings(max_examples=100, deadline=None)
def test_exact_total_puts_the_last_request_at_num_over_rate(num, rate, burstiness, seed):
    times = gamma_arrivals(num, rate, burstiness, seed, exact_total=True)
    assert times[-1] == pytest.approx(num / rate, abs=1e-9)


@pytest.mark.parametrize("burstiness", [0.1, 0.5, 1, 4])
def test_gaps_have_the_mean_and_variation_of_the_gamma_law(burstiness):
    num, rate = 40_000, 5.0
    gaps = np.diff(gamma_arrivals(num, rate, burstiness, seed=1), prepend=0)
    cv = 1 / math.sqrt(burstiness)
    five_sigma = 5 * cv / math.sqrt(num)
    assert gaps.mean() * rate == pytest.approx(1, abs=five_sigma)
    # The variance of the sample variance grows with the kurtosis, 3 + 6 / b.
    relative = 5 * math.sqrt((2 + 6 / burstiness) / num)
    assert gaps.var() * rate**2 == pytest.approx(cv**2, rel=relative)


def test_poisson_counts_per_second_have_variance_equal_to_their_mean():
    counts = np.bincount(poisson_arrivals(40_000, 8, seed=2).astype(int))[:-1]
    assert counts.mean() == pytest.approx(8, rel=0.03)
    assert counts.var() == pytest.approx(8, rel=0.12)


def test_poisson_is_gamma_with_burstiness_one():
    assert (poisson_arrivals(50, 3, 7) == gamma_arrivals(50, 3, 1.0, 7)).all()


def test_known_times_of_a_seed():
    """The same seed gives the same run on every machine."""
    assert poisson_arrivals(3, 2.0, seed=0).tolist() == [0.98820156, 1.433795184, 1.598876708]


def test_no_randomness_at_the_limits():
    assert constant_arrivals(4, 2.0).tolist() == [0.5, 1.0, 1.5, 2.0]
    assert gamma_arrivals(4, 2.0, math.inf).tolist() == [0.5, 1.0, 1.5, 2.0]
    assert poisson_arrivals(3, math.inf).tolist() == all_at_once(3).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: poisson_arrivals(0, 1), "0 requests cannot arrive; ask for at least 1"),
        (
            lambda: poisson_arrivals(1, 0),
            "the arrival rate must be positive, got 0 requests/s; inf is all at once",
        ),
        (
            lambda: constant_arrivals(1, math.nan),
            "the arrival rate must be positive, got nan requests/s; inf is all at once",
        ),
        (
            lambda: gamma_arrivals(1, 1, 0),
            "burstiness must be positive, got 0; 1 is Poisson, smaller is burstier",
        ),
        (lambda: all_at_once(-1), "-1 requests cannot arrive; ask for at least 1"),
    ],
)
def test_refuses_what_cannot_arrive(call, sentence):
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value) == sentence
