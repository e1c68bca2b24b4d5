"""Predicted beside measured: the same requests on the virtual clock, with a recorded profile, and on the wall clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from course.commands.profile import clock_named
from course.errors import UserError
from course.metrics.latency import tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import Scheduler
from course.serving.schedulers import make_scheduler
from course.simulator.costs.measured import fit
from course.simulator.costs.profile import Profile
from course.simulator.virtual import VirtualDriver
from course.workload.arrivals import all_at_once, poisson_arrivals
from course.workload.lengths import Lognormal, lognormal_lengths
from course.workload.request import Request, Workload

if TYPE_CHECKING:
    from course.model.loading import Model

PROMPT = Lognormal(median=128, sigma=0.7, low=8, high=512)
OUTPUT = Lognormal(median=64, sigma=0.7, low=4, high=256)
SCHEDULER, TOKEN_BUDGET, CACHE_TOKENS = "chunked-prefill", 256, 32_768
LOAD = 0.6
"""Requests come at this share of the rate that the cost model says can be served: queues form and empty again."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric over all requests, in seconds: predicted, measured, and quantiles of |predicted / measured - 1|."""

    metric: str
    predicted_s: list[float]
    measured_s: list[float]

    def error(self, quantile: float) -> float:
        """That quantile of the relative errors, request by request."""
        ratios = np.array(self.predicted_s) / np.array(self.measured_s)
        return float(np.quantile(np.abs(ratios - 1), quantile))

    def row(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "metric": self.metric,
            "num_requests": len(self.measured_s),
            "predicted_median_ms": 1e3 * median(self.predicted_s),
            "measured_median_ms": 1e3 * median(self.measured_s),
            "error_p50": self.error(0.5),
            "error_p90": self.error(0.9),
        }


class Trial:
    """Requests that suit a machine, served on both clocks by the same scheduler.

    They come as a Poisson process at `LOAD` times the rate at which the profile says they could be served. With a
    profile of processor time all come at once, and that clock is the engine's: it would stand still between requests.
    """

    def __init__(self, model: Model, profile: Profile, num: int, seed: int = 0) -> None:
        """Raises UserError for a profile of another model, or of too few steps."""
        from course.engine.local import LocalEngine

        if profile.model.name != model.name:
            raise UserError(f"the profile is one of {profile.model.name!r}, not of {model.name!r}; record another")
        self.block_size = int((profile.conditions or {}).get("block_size", 16))
        self.runs: list[list[RequestRecord]] = []
        at_once = make_workload(all_at_once(num).tolist(), model.config.vocab_size, seed)
        self.workload = at_once
        clock = str((profile.conditions or {}).get("clock", "wall"))
        self.arrivals = "at once, in processor time"
        if clock == "wall":
            rate = LOAD * num / max(record.token_times_s[-1] for record in self.predict(profile))
            self.arrivals = f"at {rate:.2f}/s"
            arrivals_s = poisson_arrivals(num, rate, seed).tolist()
            self.workload = make_workload(arrivals_s, model.config.vocab_size, seed)
        num_blocks = CACHE_TOKENS // self.block_size
        self._engine = LocalEngine(
            model, _policy(), num_blocks=num_blocks, block_size=self.block_size, clock=clock_named(clock)
        )
        self._engine.generate([[0] * 64] * 4, 16, ignore_end=True)  # warm up

    def describe(self) -> str:
        """The work in a line."""
        prompt_tokens = sum(request.num_prompt_tokens for request in self.workload.requests)
        return (
            f"{len(self.workload.requests)} requests {self.arrivals}, {prompt_tokens} prompt and "
            f"{sum(self.workload.output_lengths.values())} answer tokens, {SCHEDULER} with {TOKEN_BUDGET} tokens a step"
        )

    def predict(self, profile: Profile) -> list[RequestRecord]:
        """Serve on the virtual clock."""
        instance = Instance(_policy(), CACHE_TOKENS // self.block_size, self.block_size)
        return VirtualDriver(Cluster([instance]), fit(profile)).run(self.workload).records

    def serve(self) -> None:
        """Serve on the wall clock, once more."""
        from course.engine.replay import serve

        self.runs.append(serve(self._engine, self.workload))


def _policy() -> Scheduler:
    return make_scheduler(SCHEDULER, token_budget=TOKEN_BUDGET)


def make_workload(arrivals_s: Sequence[float], vocab_size: int, seed: int) -> Workload:
    """Requests of lognormal lengths at these times, with token ids."""
    lengths = lognormal_lengths(len(arrivals_s), PROMPT, OUTPUT, seed)
    rng = np.random.default_rng(seed)
    requests = [
        Request(i, time_s, prompt, output, prompt=tuple(rng.integers(0, vocab_size, prompt).tolist()))
        for i, (time_s, prompt, output) in enumerate(
            zip(arrivals_s, lengths.prompt_tokens.tolist(), lengths.output_tokens.tolist(), strict=True)
        )
    ]
    return Workload(requests, {request.id: request.max_new_tokens for request in requests})


def compare(predicted: Sequence[RequestRecord], measured: Sequence[Sequence[RequestRecord]]) -> list[Comparison]:
    """TTFT and TPOT request by request; of several measured runs the median."""
    rows = []
    for name, latency_s in (("TTFT", ttft_s), ("TPOT", tpot_s)):
        told = {record.request_id: value for record in predicted if (value := latency_s(record)) is not None}
        runs = [{record.request_id: latency_s(record) for record in run} for run in measured]
        found = {i: median([value for run in runs if (value := run[i]) is not None]) for i in told}
        rows.append(Comparison(name, list(told.values()), [found[i] for i in told]))
    return rows


def table(comparisons: Sequence[Comparison]) -> str:
    """The comparison as text."""
    lines = [f"{'milliseconds':<14}{'p50':>9}{'p90':>9}{'p99':>9}      {'error p50':>10}{'error p90':>11}"]
    for each in comparisons:
        for name, values in (("predicted", each.predicted_s), ("measured", each.measured_s)):
            figures = "".join(f"{1e3 * value:>9.2f}" for value in np.quantile(values, (0.5, 0.9, 0.99)))
            errors = (
                f"      {100 * each.error(0.5):>8.1f} %{100 * each.error(0.9):>9.1f} %" if name == "measured" else ""
            )
            lines.append(f"{each.metric} {name:<9}{figures}{errors}")
    lines.append("error: |predicted / measured - 1| of a request")
    return "\n".join(lines)
