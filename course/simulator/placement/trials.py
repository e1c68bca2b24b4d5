"""Judging candidates: each is an experiment of its own, searched for its goodput, many at a time.

The experiment that a search starts from gives model, hardware, cost model, requests and limits. Its instances give
scheduler and memory of either role; their number and parallelism are what the search is about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import joblib

from course.errors import UserError
from course.metrics.attainment import attainment
from course.serving.batch import Batch
from course.simulator.experiment.build import Setup
from course.simulator.experiment.spec import INSTANT, Experiment
from course.simulator.goodput import Goodput, Trial, find_goodput, goodput, limits_of, max_useful_rate
from course.simulator.placement.machines import Candidate, Parallelism
from course.simulator.simulate import simulate
from course.workload.request import Workload
from course.workload.slo import SLO

_COUNTS = ("role", "count", "tp", "pp", "node")
_SCHEDULERS = {"prefill": "prefill-only", "decode": "decode-only"}


class Outcome(NamedTuple):
    """What became of a candidate: its goodput, or why it cannot run."""

    candidate: Candidate
    goodput: Goodput | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FreeCost:
    """Steps that take no time: the phase that is not judged."""

    def batch_s(self, batch: Batch) -> float:
        """Nothing."""
        return 0.0

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """Nothing, again and again."""
        return 0.0, 0.0


def judge_all(experiment: Experiment, candidates: Iterable[Candidate], tolerance: float) -> list[Outcome]:
    """Judge every candidate, in the order given.

    Runs through joblib: as many at a time, and where, as `joblib.parallel_config` around the call says.

    Raises:
        UserError: when the experiment has no limits.
    """
    limits_of(experiment)
    tasks = (joblib.delayed(judge)(experiment, candidate, tolerance) for candidate in candidates)
    return list(joblib.Parallel()(tasks))


def judge(experiment: Experiment, candidate: Candidate, tolerance: float) -> Outcome:
    """The goodput of one candidate: a pair by both limits, a single instance by the limit of its own phase."""
    try:
        if candidate.prefill and candidate.decode:
            found = goodput(pair_experiment(experiment, candidate), start=candidate.num_gpus, tolerance=tolerance)
        else:
            found = _phase_goodput(experiment, candidate, tolerance)
    except UserError as error:
        return Outcome(candidate, None, str(error))
    return Outcome(candidate, found)


def pair_experiment(experiment: Experiment, pair: Candidate, num_prefill: int = 1, num_decode: int = 1) -> Experiment:
    """The experiment on so many prefill and decode instances."""
    assert pair.prefill
    assert pair.decode
    prefill = _entry(experiment, "prefill", pair.prefill) | {"count": num_prefill}
    decode = _entry(experiment, "decode", pair.decode) | {"count": num_decode}
    return experiment.with_changes({"instances": [prefill, decode]})


def _phase_goodput(experiment: Experiment, candidate: Candidate, tolerance: float) -> Goodput:
    """Of one instance that sees only its own phase."""
    slo = limits_of(experiment)
    if candidate.prefill:
        alone = experiment.with_changes({"instances": [_prefill_alone(experiment, candidate.prefill)]})
        limits = SLO(slo.ttft_s, math.inf, None, slo.attainment)
    else:
        assert candidate.decode
        instances = _decode_alone(experiment, candidate.decode)
        alone = experiment.with_changes({"instances": instances, "network": {"link": INSTANT}})
        limits = SLO(math.inf, slo.tpot_s, None, slo.attainment)

    own = Setup(alone)
    workload = _first_tokens(own.workload) if candidate.prefill else own.workload
    costs = None if candidate.prefill else {**own.costs, 0: FreeCost()}

    def attempt(rate: float) -> Trial:
        setup = Setup(alone.with_changes({"workload.rate": rate}))
        requests = Workload(setup.workload.requests, workload.output_lengths, block_size=workload.block_size)
        shares = attainment(simulate(setup.experiment, requests, costs).records, limits)
        return Trial(rate, shares.ttft, shares.tpot, shares.both)

    return find_goodput(
        attempt,
        slo.attainment,
        start=candidate.num_gpus,
        tolerance=tolerance,
        max_rate=max_useful_rate(workload, limits),
        num_gpus=candidate.num_gpus,
    )


def _entry(experiment: Experiment, role: str, parallelism: Parallelism) -> dict[str, Any]:
    """An [[instances]] of that role as the experiment has it, with other parallelism."""
    given: Iterable[Mapping[str, Any]] = experiment.table["instances"]
    like = next((entry for entry in given if entry.get("role") == role), {})
    kept = {key: value for key, value in like.items() if key not in _COUNTS}
    return {"scheduler": _SCHEDULERS[role], **kept, "role": role, "tp": parallelism.tp, "pp": parallelism.pp}


def _prefill_alone(experiment: Experiment, parallelism: Parallelism) -> dict[str, Any]:
    """A prefill instance that hands nothing over: requests end with their first token."""
    return _entry(experiment, "prefill", parallelism) | {"role": "mixed"}


def _decode_alone(experiment: Experiment, parallelism: Parallelism) -> list[dict[str, Any]]:
    """A decode instance behind a prefill instance that takes no time and has no end of memory."""
    decode = _entry(experiment, "decode", parallelism)
    blocks = {"block_size": decode["block_size"]} if "block_size" in decode else {}
    source = {"role": "prefill", "scheduler": "prefill-only", "kv_tokens": math.inf, **blocks}
    return [source | {"tp": parallelism.tp, "pp": parallelism.pp}, decode]


def _first_tokens(workload: Workload) -> Workload:
    """The same requests, over with their first token."""
    return Workload(workload.requests, dict.fromkeys(workload.output_lengths, 1), block_size=workload.block_size)
