"""Finding the best candidate without judging all of them closely.

All are tried at the same rate per GPU, then at twice that, until none is good enough; then the rate is bisected.
Whoever misses at a rate at which another one is good enough is out: it cannot be the best. So most candidates cost one
or two trials, and their goodput is known as a range. (DistServe's simulator shares the best rate in a similar way.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import joblib

from course.errors import UserError
from course.simulator.experiment.spec import Experiment
from course.simulator.goodput import Goodput, Trial, largest_good, limits_of
from course.simulator.placement.machines import Candidate
from course.simulator.placement.trials import Outcome, Stand, prepare

START = 1.0  # requests per second and GPU


def tournament(experiment: Experiment, candidates: Iterable[Candidate], tolerance: float) -> list[Outcome]:
    """The outcome of each candidate, in the order given; that of the best is as close as ``tolerance``.

    Runs through joblib: as many at a time, and where, as `joblib.parallel_config` around the call says.

    Raises:
        UserError: when the experiment has no limits.
    """
    wanted = limits_of(experiment).attainment
    candidates = list(candidates)
    stands: dict[Candidate, Stand] = {}
    reasons: dict[Candidate, str] = {}
    for candidate in candidates:
        try:
            stands[candidate] = prepare(experiment, candidate)
        except UserError as error:
            reasons[candidate] = str(error)
    highest = {candidate: stand.max_rate() for candidate, stand in stands.items()}
    trials: dict[Candidate, list[Trial]] = {candidate: [] for candidate in stands}
    alive = list(stands)

    with joblib.Parallel() as parallel:

        def reaches(per_gpu: float) -> bool:
            nonlocal alive
            rates = {c: per_gpu * c.num_gpus for c in alive if c not in reasons and per_gpu * c.num_gpus <= highest[c]}
            found = parallel(joblib.delayed(_attempt)(stands[c], rate) for c, rate in rates.items())
            good = []
            for candidate, trial in zip(rates, found, strict=True):
                if isinstance(trial, str):
                    reasons[candidate] = trial
                    continue
                trials[candidate].append(trial)
                if trial.both >= wanted:
                    good.append(candidate)
            alive = good or alive
            return bool(good)

        if alive:
            largest_good(reaches, START, tolerance)
    return [
        Outcome(c, None, reasons[c]) if c in reasons else Outcome(c, _range(trials[c], wanted, c.num_gpus))
        for c in candidates
    ]


def _attempt(stand: Stand, rate: float) -> Trial | str:
    """The trial, or why it could not be run."""
    try:
        return stand.attempt(rate)
    except UserError as error:
        return str(error)


def _range(trials: list[Trial], wanted: float, num_gpus: int) -> Goodput:
    """What the trials of one candidate say: its goodput lies from the best good rate to the first miss above it."""
    rate = max((trial.rate for trial in trials if trial.both >= wanted), default=0.0)
    miss = min((trial.rate for trial in trials if trial.both < wanted and trial.rate > rate), default=math.inf)
    return Goodput(rate, miss, wanted, tuple(sorted(trials)), num_gpus)
