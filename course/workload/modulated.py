"""Arrivals whose rate changes: bursts that come and go, hours that differ, the wave of a day.

All three are Poisson processes in a time of their own, bent into seconds by the inverse of the summed rate (Çınlar,
Introduction to Stochastic Processes, 1975, on nonstationary Poisson processes): exact, without rejecting draws. So
another rate with the same seed moves the same arrivals, and fewer requests are the first of more. Times are rounded to
a nanosecond, as in ``arrivals``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from course.errors import UserError
from course.workload.arrivals import FloatArray, check_arrivals
from course.workload.seeds import generator

_DRAWN = 1024  # periods drawn at a time; part of what a seed means


def on_off_arrivals(num: int, rate: float, on_s: float, off_s: float, seed: int = 0) -> FloatArray:
    """Arrival times (s) of an interrupted Poisson process: bursts with nothing between them.

    Periods "on" and "off" follow each other, exponentially distributed; requests come in "on" alone, there at
    ``rate`` * (on_s + off_s) / on_s. Time 0 falls into "on" with the chance that any moment has. The variance of
    the number of requests in a long time is 1 + 2 * rate * off_s**2 / (on_s + off_s) times its mean (Poisson: 1).

    Args:
        num: number of requests, at least 1.
        rate: requests per second in the mean over both kinds of periods.
        on_s: mean length of a period with requests, seconds.
        off_s: mean length of a period without; 0 is Poisson.
        seed: another seed, other times.

    Raises:
        UserError: when an argument is out of range.
    """
    check_arrivals(num, rate, finite=True)
    if not (0 < on_s < math.inf and 0 <= off_s < math.inf):
        raise UserError(f"on and off periods need lengths on_s > 0 and off_s >= 0 seconds, got {on_s} and {off_s}")
    rate_when_on = rate * (on_s + off_s) / on_s
    if rate_when_on * on_s < 0.01:
        raise UserError(f"an on period would see {rate_when_on * on_s:.2g} requests, no burst at all; make it longer")
    on_times_s = np.cumsum(generator(seed, "arrivals").standard_exponential(num)) / rate_when_on
    begins_off = generator(seed, "first period").random() * (on_s + off_s) >= on_s
    ons, offs = generator(seed, "on periods"), generator(seed, "off periods")
    # Where each on period ends, on the clock that stands still while off, and how long it has stood still by then.
    ends_s, still_s = np.zeros(0), np.array([offs.standard_exponential() * off_s * begins_off])
    while not ends_s.size or ends_s[-1] <= on_times_s[-1]:
        ends_s = np.append(ends_s, ends_s[-1:].sum() + np.cumsum(ons.standard_exponential(_DRAWN)) * on_s)
        still_s = np.append(still_s, still_s[-1] + np.cumsum(offs.standard_exponential(_DRAWN)) * off_s)
    return np.round(on_times_s + still_s[np.searchsorted(ends_s, on_times_s, side="right")], 9)


def stepped_arrivals(num: int, rate: float, shape: Sequence[float], step_s: float, seed: int = 0) -> FloatArray:
    """Arrival times (s) of a Poisson process whose rate is a staircase that repeats.

    Args:
        num: number of requests, at least 1.
        rate: requests per second in the mean over the whole staircase.
        shape: how the steps compare: [1, 3, 2] means half the mean rate, then 1.5 times, then the mean. 0 is a pause.
        step_s: how long each step lasts, seconds.
        seed: another seed, other times.

    Raises:
        UserError: when an argument is out of range.
    """
    check_arrivals(num, rate, finite=True)
    steps = np.asarray(shape, dtype=float)
    if steps.ndim != 1 or not (steps >= 0).all() or not 0 < steps.sum() < math.inf:
        raise UserError(
            f"the shape of a rate is a list of numbers from 0 on, not all 0, such as [1, 3, 2]; got {shape}"
        )
    if not 0 < step_s < math.inf:
        raise UserError(f"a step of the rate must last a positive number of seconds, got {step_s}")
    cycle_s = step_s * len(steps)
    cycles, share = np.divmod(np.cumsum(generator(seed, "arrivals").standard_exponential(num)) / (rate * cycle_s), 1)
    summed = np.append(0.0, np.cumsum(steps))  # share of a cycle's requests by the end of each step, but for a factor
    within_s = np.interp(share, summed / summed[-1], np.arange(len(summed)) * step_s)
    return np.round(cycles * cycle_s + within_s, 9)


def sinusoidal_arrivals(num: int, rate: float, amplitude: float, period_s: float, seed: int = 0) -> FloatArray:
    """Arrival times (s) of a Poisson process of rate ``rate`` * (1 + amplitude * sin(2 pi t / period_s)).

    Args:
        num: number of requests, at least 1.
        rate: requests per second in the mean over a period.
        amplitude: 0 (plain Poisson) to 1 (the rate falls to 0 once a period).
        period_s: 86 400 is a day; it begins at the mean and rises.
        seed: another seed, other times.

    Raises:
        UserError: when an argument is out of range.
    """
    check_arrivals(num, rate, finite=True)
    if not 0 <= amplitude <= 1:
        raise UserError(f"the amplitude of a rate is between 0 and 1 times its mean, got {amplitude}")
    if not 0 < period_s < math.inf:
        raise UserError(f"the period of a rate must be a positive number of seconds, got {period_s}")
    # Summed rate / rate is t + swing * (1 - cos(omega * t)), which lies between t and t + 2 * swing.
    even_s = np.cumsum(generator(seed, "arrivals").standard_exponential(num)) / rate
    omega = 2 * math.pi / period_s
    swing = amplitude / omega
    low, high = np.maximum(0.0, even_s - 2 * swing), even_s
    for _ in range(max(0, math.ceil(math.log2(2 * swing / 1e-10))) if swing else 0):
        middle = (low + high) / 2
        early = middle + swing * (1 - np.cos(omega * middle)) < even_s
        low, high = np.where(early, middle, low), np.where(early, high, middle)
    return np.round((low + high) / 2, 9)
