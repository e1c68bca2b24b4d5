"""When requests arrive, if no trace says so: times in seconds from a rate and a seed.

As in ``vllm bench serve``, the first request comes one gap after time 0, so ``num`` requests at
``rate`` take ``num / rate`` seconds in the mean. Times are rounded to a nanosecond: the last bit
of a logarithm may differ between machines, and a run must not depend on it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from course.errors import UserError
from course.workload.seeds import generator

FloatArray = NDArray[np.float64]


def poisson_arrivals(num: int, rate: float, seed: int = 0, *, exact_total: bool = False) -> FloatArray:
    """Arrival times (s) of a Poisson process: independent, exponentially distributed gaps.

    Args and errors: as ``gamma_arrivals``, of which it is the case ``burstiness`` = 1.
    """
    return gamma_arrivals(num, rate, 1.0, seed, exact_total=exact_total)


def gamma_arrivals(num: int, rate: float, burstiness: float, seed: int = 0, *, exact_total: bool = False) -> FloatArray:
    """Arrival times (s) whose gaps are gamma distributed, as ``vllm bench serve --burstiness``.

    Gaps have shape b and scale 1 / (rate * b): mean 1 / rate, coefficient of variation 1 / sqrt(b).
    So b < 1 is burstier than Poisson, b > 1 is smoother, infinity is constant.

    Args:
        num: number of requests, at least 1.
        rate: requests per second; infinity means all at once.
        burstiness: b.
        seed: another seed, other gaps.
        exact_total: stretch all gaps so that the last request comes at exactly ``num / rate``
            (what vLLM does; it steadies throughput, and the gaps are no longer independent).

    Raises:
        UserError: when an argument is out of range.
    """
    check_arrivals(num, rate)
    if not burstiness > 0:
        raise UserError(f"burstiness must be positive, got {burstiness}; 1 is Poisson, smaller is burstier")
    if math.isinf(rate):
        return all_at_once(num)
    if math.isinf(burstiness):
        return constant_arrivals(num, rate)
    gaps_s = generator(seed, "arrivals").gamma(burstiness, 1 / (rate * burstiness), num)
    times_s = np.cumsum(gaps_s)
    # With a tiny burstiness all gaps may underflow to 0: then there is nothing to stretch.
    if exact_total and times_s[-1] > 0:
        times_s *= num / rate / times_s[-1]
    return np.round(times_s, 9)


def constant_arrivals(num: int, rate: float) -> FloatArray:
    """Arrival times (s) with equal gaps of 1 / ``rate``; raises UserError as ``gamma_arrivals``."""
    check_arrivals(num, rate)
    return np.round(np.arange(1, num + 1) / rate, 9)


def all_at_once(num: int) -> FloatArray:
    """All requests at time 0, a batch job; raises UserError as ``gamma_arrivals``."""
    check_arrivals(num, math.inf)
    return np.zeros(num)


def check_arrivals(num: int, rate: float, *, finite: bool = False) -> None:
    """Raise UserError unless so many requests can arrive at that rate; ``finite``: not all at once."""
    if num < 1:
        raise UserError(f"{num} requests cannot arrive; ask for at least 1")
    if finite and math.isinf(rate) and rate > 0:
        raise UserError("a rate that changes must be finite; choose Poisson arrivals for all at once")
    if not rate > 0:
        raise UserError(f"the arrival rate must be positive, got {rate} requests/s; inf is all at once")
