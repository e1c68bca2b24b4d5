"""From the section [router] to routers, with what only the whole experiment can give them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

from course.errors import UserError
from course.serving.predictor import Buckets
from course.serving.routers import ROUTERS, Router, make_router
from course.serving.routers.splitwise import SplitwisePools
from course.simulator.estimate import CostEstimator
from course.simulator.experiment.kinds import CHANCE, COUNT, COUNT_OR_ZERO
from course.simulator.experiment.spec import Experiment
from course.simulator.run import CostModel
from course.workload.request import Workload

PREDICTION = ("accuracy", "width")
"""Parameters of a router that takes a predictor: how often it names the right bucket of answer lengths, how wide."""

_MADE_HERE = ("predictor", "estimator")
_KINDS = {"accuracy": CHANCE, "width": COUNT, "heavy_tokens": COUNT_OR_ZERO, "seed": COUNT_OR_ZERO}


def make_routers(experiment: Experiment, costs: Mapping[int, CostModel], workload: Workload) -> tuple[Router, Router]:
    """The router of arrivals, and that of answers whose prompt is computed.

    Step-time predictions come from the cost models, limits from [slo], seeds from the experiment unless given.

    Raises:
        UserError: naming the key, for parameters that do not fit and limits that are missing.
    """
    spec = experiment.router
    return (
        _router("prefill", spec.prefill, dict(spec.prefill_parameters), experiment, costs, workload),
        _router("decode", spec.decode, dict(spec.decode_parameters), experiment, costs, workload),
    )


def _router(
    phase: str,
    name: str,
    parameters: dict[str, Any],
    experiment: Experiment,
    costs: Mapping[int, CostModel],
    workload: Workload,
) -> Router:
    where = f"router.{phase}_parameters" if parameters else f"router.{phase}"
    takes = inspect.signature(ROUTERS[name]).parameters
    try:
        _check(name, parameters, takes)
        if "predictor" in takes:
            prediction = {key: parameters.pop(key) for key in PREDICTION if key in parameters}
            if prediction:
                parameters["predictor"] = Buckets(workload.output_lengths, seed=experiment.seed, **prediction)
        if "seed" in takes:
            parameters.setdefault("seed", experiment.seed)
        if "estimator" in takes:
            parameters["estimator"] = CostEstimator(costs)
        for limit in ("ttft_s", "tpot_s"):
            if limit in takes and limit not in parameters:
                parameters[limit] = _limit(experiment, limit)
        router = make_router(name, **parameters)
        if isinstance(router, SplitwisePools) and router.num_prompt >= len(costs) > 1:
            raise UserError(
                f"num_prompt={router.num_prompt} leaves none of the {len(costs)} instances to write answers; "
                f"give at most {len(costs) - 1}"
            )
        return router
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _check(name: str, parameters: dict[str, Any], takes: Iterable[str]) -> None:
    """Raise UserError for a parameter that is not there to be set, or not of its kind."""
    known = [key for key in takes if key not in _MADE_HERE]
    if "predictor" in takes:
        known += PREDICTION
    for key, value in parameters.items():
        if known and key not in known:
            raise UserError(f"router {name!r} has no parameter {key!r}; it has {', '.join(known)}")
        if key in _KINDS:
            parameters[key] = _KINDS[key].value(key, value)  # 200.0 is 200


def _limit(experiment: Experiment, name: str) -> float:
    value: float = getattr(experiment.slo, name, math.inf)
    if not math.isfinite(value):
        raise UserError(f"this router aims at a limit that the experiment does not set; give slo.{name[:-2]}")
    return value
