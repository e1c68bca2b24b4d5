"""What queueing theory says of a prefill instance, to hold simulations against.

The setting of DistServe (OSDI'24, section 3.1): Poisson arrivals at ``rate`` per second, prompts of one length, so that
every prefill takes the same ``prefill_s``, first come first served, one prompt at a time. Everything depends on the
load r = rate * prefill_s. At or above its stability limit the queue grows without end: mean times are infinite there.
"""

from __future__ import annotations

import math

from course.errors import UserError


def md1_wait_s(rate: float, service_s: float) -> float:
    """Mean wait in an M/D/1 queue, service excluded: r * service_s / (2 (1 - r)) (Pollaczek and Khinchine)."""
    load = _load(rate, service_s)
    return load * service_s / (2 * (1 - load)) if load < 1 else math.inf


def mm1_wait_s(rate: float, mean_service_s: float) -> float:
    """Mean wait in an M/M/1 queue, service excluded: r * mean_service_s / (1 - r), twice that of M/D/1."""
    return 2 * md1_wait_s(rate, mean_service_s)


def mean_ttft_s(rate: float, prefill_s: float, num_replicas: int = 1) -> float:
    """Mean TTFT of one device: D + R D² / (2 (1 - R D)) (DistServe, equation 1).

    Of several copies of the model, chosen at random, each sees its share of the rate (section 3.2).
    """
    if num_replicas < 1:
        raise UserError(f"num_replicas must be at least 1, got {num_replicas}")
    return prefill_s + md1_wait_s(rate / num_replicas, prefill_s)


def mean_ttft_inter_op_s(rate: float, prefill_s: float) -> float:
    """Mean TTFT of two pipeline stages of equal length: D + R D² / (4 (2 - R D)) (DistServe, equation 2).

    A prompt passes both stages, so it takes D in all; the next one enters after D / 2.
    """
    return prefill_s + md1_wait_s(rate, prefill_s / 2)


def mean_ttft_intra_op_s(rate: float, prefill_s: float, speedup: float) -> float:
    """Mean TTFT of two devices that share every layer: D / K + R D² / (2 K (K - R D)) (DistServe, equation 3).

    ``speedup`` is K: how many times faster than one device, above 1 and below 2 because the devices must communicate.
    """
    return mean_ttft_s(rate, prefill_s / _checked(speedup))


def max_rate(prefill_s: float, *, num_stages: int = 1, speedup: float = 1.0) -> float:
    """The rate at which the queue of one instance begins to grow without end: stages * K / D requests per second."""
    if not prefill_s > 0:
        raise UserError(f"prefill_s must be a positive number of seconds, got {prefill_s}")
    return num_stages * speedup / prefill_s


def crossover_load(speedup: float) -> float:
    """The load R D of one device at which equations 2 and 3 are equal.

    Below it intra-op wins (execution dominates), above it inter-op (queueing dominates). Setting them equal gives
    r² - (K + 2) r + 8 K (K - 1) / (3 K - 2) = 0; its smaller root is the one at which both are stable.
    """
    k = _checked(speedup)
    half = (k + 2) / 2
    return half - math.sqrt(half * half - 8 * k * (k - 1) / (3 * k - 2))


def _load(rate: float, service_s: float) -> float:
    if not (rate >= 0 and service_s > 0):
        raise UserError(f"rate must not be negative and service_s must be positive, got {rate} and {service_s}")
    return rate * service_s


def _checked(speedup: float) -> float:
    if not 1 <= speedup <= 2:
        raise UserError(f"two devices are 1 to 2 times as fast as one, got a speedup of {speedup}")
    return speedup
