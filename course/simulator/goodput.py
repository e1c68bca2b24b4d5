"""Goodput: the largest request rate at which enough requests keep their limits (DistServe, OSDI'24, section 1).

The search tries rates. Every trial serves the same requests, only closer together or further apart in time (common
random numbers), so two trials differ by their rate alone and the noise of the draw is the same in both.

It takes for granted that attainment falls as the rate rises. That holds over long runs, not to the last request:
batching can make a slightly higher rate slightly better. So the search finds one rate at which attainment crosses the
goal; there may be another close by. And in a short run the queue has no time to grow: the more requests, the stricter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from course.errors import UserError
from course.simulator.experiment.build import Setup
from course.simulator.experiment.spec import Experiment
from course.simulator.simulate import simulate
from course.workload.request import Workload
from course.workload.slo import SLO

MAX_HALVINGS = 10


class Trial(NamedTuple):
    """One rate (requests/s) and the shares of requests that kept the TTFT limit, the TPOT limit, all limits."""

    rate: float
    ttft: float
    tpot: float
    both: float


@dataclass(frozen=True, slots=True)
class Goodput:
    """The outcome of a search.

    ``rate`` is the largest rate tried that reaches ``wanted`` (0: none did), ``miss`` the smallest tried that does
    not (infinity: none). ``trials`` are in order of rate. ``num_gpus`` is what ``per_gpu`` divides by.
    """

    rate: float
    miss: float
    wanted: float
    trials: tuple[Trial, ...]
    num_gpus: int = 1

    @property
    def per_gpu(self) -> float:
        """Requests per second and GPU: what DistServe calls per-GPU goodput."""
        return self.rate / self.num_gpus

    @property
    def limits(self) -> tuple[str, ...]:
        """Which of "TTFT" and "TPOT" miss the goal, each alone, at the rate ``miss``; empty: only both together do."""
        trial = next((t for t in self.trials if t.rate == self.miss), None)
        if trial is None:
            return ()
        return tuple(name for name, share in (("TTFT", trial.ttft), ("TPOT", trial.tpot)) if share < self.wanted)


def find_goodput(
    attainment: Callable[[float], Trial],
    wanted: float,
    *,
    start: float = 1.0,
    tolerance: float = 0.02,
    max_rate: float = 2.0**20,
    num_gpus: int = 1,
) -> Goodput:
    """Double ``start`` until the goal is missed (or halve it until it is reached), then bisect.

    Args:
        attainment: serves the requests at a rate; called once for each rate.
        wanted: the share that must keep all limits, above 0 and up to 1.
        start: the first rate, in requests/s. Rates are this one times short binary fractions, easy to type again.
        tolerance: stop when the smallest miss is within this share above the largest rate that reaches the goal.
        max_rate: no higher rate is tried; one that is still good enough ends the search.
        num_gpus: GPUs that serve these rates.

    Raises:
        UserError: for a share, a rate or a tolerance out of range.
    """
    if not 0 < wanted <= 1:
        raise UserError(f"the wanted attainment is a share above 0 and up to 1, got {wanted}")
    if not 0 < start < math.inf:
        raise UserError(f"the search needs a positive rate to start from, got {start}")
    check_tolerance(tolerance)
    trials: list[Trial] = []

    def reaches(rate: float) -> bool:
        trials.append(attainment(rate))
        return trials[-1].both >= wanted

    good, miss = largest_good(reaches, start, tolerance, max_rate)
    return Goodput(good, miss, wanted, tuple(sorted(trials)), num_gpus)


def check_tolerance(tolerance: float) -> None:
    """Raise UserError for a tolerance at which no search would end."""
    if not 0 < tolerance <= 1:
        raise UserError(f"the tolerance is a share above 0 and up to 1 such as 0.02, got {tolerance}")


def largest_good(
    reaches: Callable[[float], bool], start: float, tolerance: float, max_rate: float = math.inf
) -> tuple[float, float]:
    """The largest rate found that reaches the goal (0: none) and the smallest that does not (infinity: none)."""
    good, miss = _bracket(reaches, min(start, max_rate), max_rate)
    while good > 0 and miss < math.inf and miss - good > tolerance * good:
        middle = (good + miss) / 2
        if not good < middle < miss:  # neighbours among floating-point numbers
            break
        if reaches(middle):
            good = middle
        else:
            miss = middle
    return good, miss


def _bracket(reaches: Callable[[float], bool], start: float, max_rate: float) -> tuple[float, float]:
    """A rate that reaches the goal (0: none found) and a higher one that misses it (infinity: none found)."""
    if reaches(start):
        good = start
        while good < max_rate:
            rate = min(2 * good, max_rate)
            if not reaches(rate):
                return good, rate
            good = rate
        return good, math.inf
    for halving in range(1, MAX_HALVINGS + 1):
        if reaches(start / 2**halving):
            return start / 2**halving, start / 2 ** (halving - 1)
    return 0.0, start / 2**MAX_HALVINGS


def goodput(
    experiment: Experiment, *, start: float | None = None, tolerance: float = 0.02, max_rate: float = math.inf
) -> Goodput:
    """The largest rate, up to ``max_rate``, at which the experiment's requests keep its limits.

    ``start`` is the first rate tried, by default the experiment's own.

    Raises:
        UserError: when the experiment has no limits or no rate to change, or cannot run.
    """
    slo = limits_of(experiment)
    if experiment.workload.arrivals == "all-at-once":
        raise UserError('workload.arrivals = "all-at-once" has no rate to search; choose another one such as "poisson"')
    own = experiment.workload.rate
    return find_goodput(
        lambda rate: try_rate(experiment, rate),
        slo.attainment,
        start=start if start is not None else (own if own and own < math.inf else 1.0),
        tolerance=tolerance,
        max_rate=min(max_rate, max_useful_rate(Setup(experiment).workload, slo)),
        num_gpus=experiment.num_gpus,
    )


def limits_of(experiment: Experiment) -> SLO:
    """The limits that a search holds requests to; raises UserError where there are none."""
    slo = experiment.slo
    if slo is None or (math.isinf(slo.ttft_s) and math.isinf(slo.tpot_s) and slo.e2e_s is None):
        raise UserError(
            "slo.ttft and slo.tpot are missing: without limits every rate is good enough; "
            "add [slo] with ttft and tpot in seconds"
        )
    return slo


def try_rate(experiment: Experiment, rate: float) -> Trial:
    """Serve the experiment's requests at another rate."""
    shares = simulate(experiment.with_changes({"workload.rate": rate})).attainment()
    return Trial(rate, shares.ttft, shares.tpot, shares.both)


def max_useful_rate(workload: Workload, slo: SLO) -> float:
    """The rate at which all requests are there at once even if each takes as long as the limits allow.

    A higher rate could not load the instances more, so it says nothing: for that it takes more requests.
    """
    mean_tokens = sum(workload.output_lengths.values()) / len(workload)
    limits_s = (slo.ttft_s, slo.tpot_s * mean_tokens)
    return len(workload) / (sum(limit_s for limit_s in limits_s if math.isfinite(limit_s)) or 1.0)
