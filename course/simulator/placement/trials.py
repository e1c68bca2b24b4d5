"""Judging candidates: each is an experiment of its own, searched for its goodput, many at a time.

The experiment that a search starts from gives model, hardware, cost model, requests and limits. Its instances give
scheduler and memory of either role; their number and parallelism are what the search is about.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import joblib

from course.errors import UserError
from course.metrics.attainment import attainment
from course.serving.batch import Batch
from course.simulator.experiment.build import Setup
from course.simulator.experiment.spec import INSTANT, Experiment
from course.simulator.goodput import Goodput, Trial, find_goodput, limits_of, max_useful_rate
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

    def batch_stage_s(self, batch: Batch) -> float:
        """Nothing."""
        return 0.0

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """Nothing, again and again."""
        return 0.0, 0.0


@dataclass(frozen=True, slots=True)
class Stand:
    """A candidate ready to be tried: its experiment and its limits; for a pair also its prefill instance alone."""

    candidate: Candidate
    experiment: Experiment
    limits: SLO
    prefill: Stand | None = None

    def attempt(self, rate: float) -> Trial:
        """Serve the requests at a rate (requests/s).

        A pair does not begin answers sooner than its prefill instance does alone. Where that one misses already, which
        takes little time to find out, no answers are written: the shares are those of the prefill instance, and the
        TPOT's is unknown (NaN).
        """
        if self.prefill and (first := self.prefill.attempt(rate)).ttft < self.limits.attainment:
            return Trial(rate, first.ttft, math.nan, first.ttft)
        setup = Setup(self.experiment.with_changes({"workload.rate": rate}))
        costs = None if self.candidate.prefill else {**setup.costs, 0: FreeCost()}
        shares = attainment(simulate(setup.experiment, self._work(setup.workload), costs).records, self.limits)
        return Trial(rate, shares.ttft, shares.tpot, shares.both)

    def max_rate(self) -> float:
        """The highest rate worth trying."""
        return max_useful_rate(self._work(Setup(self.experiment).workload), self.limits)

    def _work(self, workload: Workload) -> Workload:
        """The requests; for a prefill instance by itself they are over with their first token."""
        if self.candidate.decode:
            return workload
        return Workload(workload.requests, dict.fromkeys(workload.output_lengths, 1), block_size=workload.block_size)


def prepare(experiment: Experiment, candidate: Candidate) -> Stand:
    """The candidate with all limits if it is a pair, with those of its own phase if not.

    Raises:
        UserError: when it cannot run, or the experiment has no limits.
    """
    slo = limits_of(experiment)
    if candidate.prefill and candidate.decode:
        alone = prepare(experiment, Candidate(candidate.prefill, None))
        stand = Stand(candidate, pair_experiment(experiment, candidate), slo, alone)
    elif candidate.prefill:
        changed = experiment.with_changes({"instances": [_prefill_alone(experiment, candidate.prefill)]})
        stand = Stand(candidate, changed, SLO(slo.ttft_s, math.inf, None, slo.attainment))
    else:
        assert candidate.decode
        instances = _decode_alone(experiment, candidate.decode)
        changed = experiment.with_changes({"instances": instances, "network": {"link": INSTANT}})
        stand = Stand(candidate, changed, SLO(math.inf, slo.tpot_s, None, slo.attainment))
    Setup(stand.experiment)  # refuses what cannot run
    return stand


def judge(experiment: Experiment, candidate: Candidate, tolerance: float) -> Outcome:
    """The goodput of one candidate: a pair by both limits, a single instance by the limit of its own phase."""
    try:
        stand = prepare(experiment, candidate)
        found = find_goodput(
            stand.attempt,
            stand.limits.attainment,
            start=candidate.num_gpus,
            tolerance=tolerance,
            max_rate=stand.max_rate(),
            num_gpus=candidate.num_gpus,
        )
    except UserError as error:
        return Outcome(candidate, None, str(error))
    return Outcome(candidate, found)


def judge_all(experiment: Experiment, candidates: Iterable[Candidate], tolerance: float) -> list[Outcome]:
    """Judge every candidate as closely as ``tolerance``, in the order given.

    Runs through joblib: as many at a time, and where, as `joblib.parallel_config` around the call says.

    Raises:
        UserError: when the experiment has no limits.
    """
    limits_of(experiment)
    tasks = (joblib.delayed(judge)(experiment, candidate, tolerance) for candidate in candidates)
    return list(joblib.Parallel()(tasks))


def pair_experiment(
    experiment: Experiment, pair: Candidate, prefill_nodes: Iterable[int] = (0,), decode_nodes: Iterable[int] = (0,)
) -> Experiment:
    """The experiment with one prefill and one decode instance for each of the nodes given (several may be equal)."""
    assert pair.prefill
    assert pair.decode
    roles = (("prefill", pair.prefill, prefill_nodes), ("decode", pair.decode, decode_nodes))
    entries = [
        _entry(experiment, role, parallelism) | {"count": count, "node": node}
        for role, parallelism, nodes in roles
        for node, count in sorted(Counter(nodes).items())
    ]
    return experiment.with_changes({"instances": entries})


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
