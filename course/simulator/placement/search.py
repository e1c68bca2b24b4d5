"""A whole search: candidates, their judgement, DistServe's choice, and what the choice really does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from course.errors import UserError
from course.simulator.experiment.spec import Experiment
from course.simulator.goodput import Goodput, check_tolerance, goodput
from course.simulator.placement.algorithms import Placement, place_pairs, place_singles
from course.simulator.placement.layout import lay_out_singles
from course.simulator.placement.machines import Candidate, Machines, pair_candidates, single_candidates
from course.simulator.placement.tournament import tournament
from course.simulator.placement.trials import Outcome, judge_all, pair_experiment
from course.simulator.shapes import load_shape

Affinity = Literal["high", "low"]
ALGORITHMS: dict[Affinity, int] = {"high": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class Search:
    """The outcomes of all candidates, and the placement made of the best.

    ``together`` is the goodput of the whole placement, simulated as one cluster, up to the rate that was promised: the
    phases of algorithm 1 were judged apart, and copies share one stream of requests. None where it was not asked for.
    """

    affinity: Affinity
    machines: Machines
    outcomes: tuple[Outcome, ...]
    placement: Placement
    together: Goodput | None = None


def search(
    experiment: Experiment,
    machines: Machines,
    affinity: Affinity,
    *,
    rate: float | None = None,
    tolerance: float = 0.05,
    check: bool = True,
    exact: bool = False,
) -> Search:
    """DistServe's algorithm 1 (high node affinity) or 2 (low) for the experiment's model, requests and limits.

    Args:
        experiment: what is served, within which limits; its instances say scheduler and memory of either role.
        machines: what there is to place it on.
        affinity: "high": the network between nodes is fast; "low": keys and values must stay in a node.
        rate: traffic to carry, in requests/s; None: as much as the machines can.
        tolerance: of every goodput, as a share.
        check: simulate the chosen placement as a whole.
        exact: judge every candidate as closely as the best one, instead of dropping it when it cannot be the best.

    Raises:
        UserError: when there are no limits, no candidate can run, or the traffic needs more GPUs.
    """
    if rate is not None and not 0 < rate < math.inf:
        raise UserError(f"the traffic to carry must be a positive rate, got {rate}")
    check_tolerance(tolerance)
    shape = load_shape(experiment.model)
    candidates = list((single_candidates if affinity == "high" else pair_candidates)(shape, machines))
    outcomes = (_judge_all if exact else _find_best)(experiment, machines, candidates, tolerance)
    judged = {outcome.candidate: outcome.goodput for outcome in outcomes if outcome.goodput}
    if not judged:
        raise UserError(_none_runs(machines, outcomes))
    placement = (place_singles if affinity == "high" else place_pairs)(judged, machines, rate)
    together = _together(experiment, placement, judged, tolerance) if check else None
    return Search(affinity, machines, tuple(outcomes), placement, together)


def _judge_all(
    experiment: Experiment, machines: Machines, candidates: list[Candidate], tolerance: float
) -> list[Outcome]:
    return judge_all(experiment, candidates, tolerance)


def _find_best(
    experiment: Experiment, machines: Machines, candidates: list[Candidate], tolerance: float
) -> list[Outcome]:
    """A tournament of the pairs, or one of each phase; all judged closely where the two winners do not fit together."""
    phases = ([c for c in candidates if c.prefill], [c for c in candidates if not c.prefill])
    played = [tournament(experiment, phase, tolerance) for phase in phases]
    outcomes = [outcome for each in played for outcome in each]
    if not phases[1]:
        return outcomes
    winners = [best_first(tuple(each))[:1] for each in played]
    if all(winners):
        (prefill, _), (decode, _) = winners[0][0], winners[1][0]
        assert prefill.prefill
        assert decode.decode
        if lay_out_singles(machines, prefill.prefill, decode.decode, 1, 1) is None:
            return judge_all(experiment, candidates, tolerance)
    return outcomes


def _together(
    experiment: Experiment, placement: Placement, judged: Mapping[Candidate, Goodput], tolerance: float
) -> Goodput:
    homes = placement.layout.homes("prefill"), placement.layout.homes("decode")
    if homes == ([0], [0]) and placement.unit in judged:
        return judged[placement.unit]  # a single pair was judged as a whole already
    whole = pair_experiment(experiment, placement.unit, *homes)
    return goodput(whole, start=placement.rate, tolerance=tolerance, max_rate=placement.rate)


def _none_runs(machines: Machines, outcomes: list[Outcome]) -> str:
    if not outcomes:
        return (
            f"{machines.num_gpus} GPUs in nodes of {machines.gpus_per_node} hold no prefill and decode instance beside "
            "each other; a placement takes 2 GPUs or more, for algorithm 2 in one node"
        )
    return f"none of {len(outcomes)} candidates can run; the first, {outcomes[0].candidate}: {outcomes[0].reason}"


def best_first(outcomes: tuple[Outcome, ...]) -> list[tuple[Candidate, Goodput]]:
    """The candidates that run, most requests per GPU first, prefill before decode."""
    judged = [(outcome.candidate, outcome.goodput) for outcome in outcomes if outcome.goodput]
    return sorted(judged, key=lambda found: (found[0].prefill is None, -found[1].per_gpu, found[0].num_gpus))
