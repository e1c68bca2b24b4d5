import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.workload.arrivals import poisson_arrivals
from course.workload.modulated import on_off_arrivals, sinusoidal_arrivals, stepped_arrivals

PROCESSES = {
    "on-off": lambda num, rate, seed: on_off_arrivals(num, rate, 2.0, 6.0, seed),
    "stepped": lambda num, rate, seed: stepped_arrivals(num, rate, [1, 0, 3.5], 5.0, seed),
    "sinusoidal": lambda num, rate, seed: sinusoidal_arrivals(num, rate, 0.9, 60.0, seed),
}
every = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


@every
@given(num=st.integers(1, 300), rate=st.floats(0.01, 1000), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_times_are_sorted_positive_and_repeatable(process, num, rate, seed):
    times = process(num, rate, seed)
    assert times.shape == (num,)
    assert (np.diff(times) >= 0).all()
    assert (times >= 0).all()
    assert (times == process(num, rate, seed)).all()


@every
@given(num=st.integers(1, 3000), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_fewer_requests_are_the_first_of_more(process, num, seed):
    assert (process(num, 3.0, seed) == process(3000, 3.0, seed)[:num]).all()


@every
def test_the_mean_rate_is_the_one_asked_for(process):
    """Over 200 runs of 100 s: 80 000 requests, counted from time 0, where each process starts as it goes on."""
    counts = [np.sum(process(3000, 4.0, seed) < 120.0) for seed in range(200)]
    # 120 s are whole periods of the staircase and the wave; on/off starts in its steady state.
    error = np.std(counts) / math.sqrt(len(counts))
    assert abs(np.mean(counts) - 480) < 4 * error


def test_on_off_has_the_variance_of_the_interrupted_poisson_process():
    """It is a renewal process (Kuczura, 1973): the squared variation of its gaps is that of its counts."""
    rate, on_s, off_s = 4.0, 1.0, 9.0
    wanted = 1 + 2 * rate * off_s**2 / (on_s + off_s)
    gaps = np.diff(on_off_arrivals(400_000, rate, on_s, off_s, seed=1))
    assert gaps.mean() * rate == pytest.approx(1, abs=5 * math.sqrt(wanted / gaps.size))
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(wanted, rel=0.05)


def test_requests_of_on_off_come_in_bursts_of_the_rate_when_on():
    times = on_off_arrivals(20_000, 2.0, 5.0, 45.0, seed=3)
    gaps = np.diff(times)
    within = gaps[gaps < 1.0]  # 20 a second when on
    assert within.mean() == pytest.approx(1 / 20, rel=0.03)
    assert gaps[gaps >= 1.0].mean() == pytest.approx(45 + 1, rel=0.1), "an off period, and a gap around it"


def test_without_off_periods_it_is_poisson():
    assert (on_off_arrivals(5000, 3.0, 2.0, 0.0, 5) == poisson_like(5000, 3.0, 5)).all()
    assert stepped_arrivals(500, 3.0, [2.0], 7.0, 5) == pytest.approx(poisson_like(500, 3.0, 5), abs=1e-8)
    assert (sinusoidal_arrivals(500, 3.0, 0.0, 60.0, 5) == poisson_like(500, 3.0, 5)).all()


def poisson_like(num, rate, seed):
    return np.round(np.cumsum(np.diff(poisson_arrivals(num, 1.0, seed), prepend=0.0)) / rate, 9)


def test_a_staircase_has_the_rate_of_each_step():
    times = stepped_arrivals(80_000, 10.0, [1, 0, 3], 5.0, seed=2)
    cycles = int(times[-1] // 15)
    steps = np.bincount((times[times < cycles * 15] % 15 // 5).astype(int), minlength=3) / (cycles * 5)
    assert steps[1] == 0
    assert steps == pytest.approx([7.5, 0, 22.5], rel=0.02)


def test_a_wave_has_the_rate_of_each_phase():
    times = sinusoidal_arrivals(200_000, 10.0, 0.8, 100.0, seed=2)
    cycles = int(times[-1] // 100)
    eighths = np.bincount((times[times < cycles * 100] % 100 // 12.5).astype(int), minlength=8) / (cycles * 12.5)
    angles = np.linspace(0, 2 * math.pi, 9)
    wanted = 10 * (1 + 0.8 * -np.diff(np.cos(angles)) / np.diff(angles))
    assert eighths == pytest.approx(wanted, rel=0.03)


@given(st.floats(0.05, 1), st.floats(0.5, 1e5), st.floats(0.1, 100), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_wave_is_exact(amplitude, period_s, rate, seed):
    """The summed rate at the arrivals is a Poisson process of rate 1: the same one at any amplitude."""
    times = sinusoidal_arrivals(50, rate, amplitude, period_s, seed)
    omega = 2 * math.pi / period_s
    summed = rate * (times + amplitude / omega * (1 - np.cos(omega * times)))
    assert summed == pytest.approx(poisson_like(50, 1.0, seed), abs=1e-8 * (1 + rate) + 1e-12 * period_s * rate)


@pytest.mark.parametrize("fast", [2.0, 5.0])
@every
def test_a_higher_rate_moves_the_same_arrivals_forward(process, fast):
    assert (process(2000, fast, 7) <= process(2000, 1.0, 7)).all()


def test_known_times_of_a_seed():
    """The same seed gives the same run on every machine."""
    assert {name: process(3, 2.0, 0).tolist() for name, process in PROCESSES.items()} == KNOWN


KNOWN = {
    "on-off": [4.42722217, 4.538620576, 4.579890957],
    "stepped": [1.48230234, 2.150692777, 2.398315061],
    "sinusoidal": [0.946058874, 1.348273623, 1.493920068],
}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: on_off_arrivals(0, 1, 1, 1), "0 requests cannot arrive; ask for at least 1"),
        (lambda: on_off_arrivals(1, math.inf, 1, 1), "a rate that changes must be finite; choose Poisson arrivals"),
        (lambda: on_off_arrivals(1, 1, 0, 1), "on and off periods need lengths on_s > 0 and off_s >= 0 seconds, got 0"),
        (lambda: on_off_arrivals(1, 1, 1, math.nan), "on and off periods need lengths on_s > 0 and off_s >= 0"),
        (lambda: on_off_arrivals(1, 1, 1e-4, 1e-4), "an on period would see 0.0002 requests, no burst at all"),
        (lambda: stepped_arrivals(1, 0, [1], 1), "the arrival rate must be positive, got 0 requests/s"),
        (lambda: stepped_arrivals(1, 1, [], 1), "the shape of a rate is a list of numbers from 0 on, not all 0"),
        (lambda: stepped_arrivals(1, 1, [0, 0], 1), "the shape of a rate is a list of numbers from 0 on, not all 0"),
        (lambda: stepped_arrivals(1, 1, [1, -1, 3], 1), "the shape of a rate is a list of numbers from 0 on"),
        (lambda: stepped_arrivals(1, 1, [1, math.nan], 1), "the shape of a rate is a list of numbers from 0 on"),
        (lambda: stepped_arrivals(1, 1, [1], 0), "a step of the rate must last a positive number of seconds, got 0"),
        (lambda: sinusoidal_arrivals(1, 1, 1.5, 9), "the amplitude of a rate is between 0 and 1 times its mean"),
        (lambda: sinusoidal_arrivals(1, 1, 1, math.inf), "the period of a rate must be a positive number of seconds"),
    ],
)
def test_refuses_what_cannot_arrive(call, sentence):
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value).startswith(sentence)
