"""The keys of an experiment, section by section. docs/experiments.md explains each; a test compares the two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from course.serving.instance import Role
from course.serving.routers import ROUTERS
from course.serving.schedulers import SCHEDULERS
from course.simulator.experiment.kinds import (
    CHANCE,
    COUNT,
    COUNT_OR_ZERO,
    FLAG,
    MOST_INSTANCES,
    MOST_REQUESTS,
    NUMBERS,
    POSITIVE,
    POSITIVE_OR_ZERO,
    RATE,
    SECONDS,
    SHARE,
    TABLE,
    TEXT,
    Kind,
    key,
    one_of,
    whole,
)
from course.simulator.hardware import load_hardware
from course.simulator.links import link_names
from course.workload.length_tables import table_names
from course.workload.slo import SLO
from course.workload.traces import FORMATS

ARRIVALS = ("poisson", "gamma", "constant", "all-at-once", "on-off", "stepped", "sinusoidal")


def _hardware(given: Any) -> str:
    name: str = TEXT.read(given)
    if not name.endswith(".json"):  # a recorded profile: read when it is needed
        load_hardware(name)
    return name


HARDWARE = Kind(TEXT.wants, _hardware)
INSTANT = "instant"
"""The link of a network that takes no time."""
CAPACITIES = ("kv-capacity", "published-kv-capacity")
"""Words that a whole number of a scheduler may be given as: tokens that fit, computed or as DistServe measured them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec:
    """[workload]: either a trace, or lengths and arrivals."""

    trace: str | None = key(TEXT, None)
    format: str | None = key(one_of("trace format", lambda: list(FORMATS)), None)
    tick_s: float | None = key(SECONDS, None)
    limit: int | None = key(COUNT, None)
    trace_rate: float | None = key(RATE, None)

    lengths: str | None = key(one_of("length table", table_names), None)
    joint: bool = key(FLAG, True)
    prompt_tokens: int | None = key(COUNT, None)
    prompt_sigma: float = key(POSITIVE_OR_ZERO, 0.0)
    output_tokens: int | None = key(COUNT, None)
    output_sigma: float = key(POSITIVE_OR_ZERO, 0.0)

    arrivals: str | None = key(one_of("arrival process", lambda: list(ARRIVALS)), None)
    rate: float | None = key(RATE, None)
    requests: int | None = key(whole(1, MOST_REQUESTS), None)
    burstiness: float | None = key(POSITIVE, None)
    on_s: float | None = key(SECONDS, None)
    off_s: float | None = key(SECONDS, None)
    shape: tuple[float, ...] | None = key(NUMBERS, None)
    step_s: float | None = key(SECONDS, None)
    amplitude: float | None = key(CHANCE, None)
    period_s: float | None = key(SECONDS, None)

    extra_output_tokens: int = key(COUNT_OR_ZERO, 0)
    max_new_tokens: int | str = key(whole(or_words=("pow2", "exact")), "pow2")
    fit_context: bool = key(FLAG, False)
    stop_at_context: bool = key(FLAG, True)
    too_long: str = key(one_of("way with prompts that are too long", lambda: ["error", "refuse"]), "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """One [[instances]]: ``count`` instances that are alike. Further keys are parameters of the scheduler."""

    role: Role = key(one_of("role", lambda: ["mixed", "prefill", "decode"]), "mixed")  # noqa: RUF009
    count: int = key(whole(0, MOST_INSTANCES), 1)
    tp: int = key(COUNT, 1)
    pp: int = key(COUNT, 1)
    hardware: str | None = key(HARDWARE, None)
    cost: str | None = key(TEXT, None)
    kv_tokens: float | None = key(whole(or_inf=True), None)
    memory_utilization: float = key(SHARE, 0.9)
    host_kv_tokens: int = key(COUNT_OR_ZERO, 0)
    block_size: int = key(COUNT, 16)
    prefix_cache: bool = key(FLAG, False)
    node: int = key(COUNT_OR_ZERO, 0)
    scheduler: str | None = key(one_of("scheduler", lambda: list(SCHEDULERS)), None)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_gpus(self) -> int:
        """Accelerators of all instances of this kind."""
        return self.count * self.tp * self.pp

    @property
    def scheduler_name(self) -> str:
        """The scheduler, by role unless it is named."""
        by_role = {"mixed": "chunked-prefill", "prefill": "prefill-only", "decode": "decode-only"}
        return self.scheduler or by_role[self.role]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSpec:
    """[router]: who takes an arrival, and who takes a sequence whose prompt is computed."""

    prefill: str = key(one_of("router", lambda: list(ROUTERS)), "least-requests")
    decode: str = key(one_of("router", lambda: list(ROUTERS)), "least-requests")
    prefill_parameters: tuple[tuple[str, Any], ...] = key(TABLE, ())
    decode_parameters: tuple[tuple[str, Any], ...] = key(TABLE, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """[network]: how keys and values move from prefill to decode instances."""

    link: str | None = key(one_of("link", lambda: [INSTANT, *link_names()]), None)
    bandwidth_gb_s: float | None = key(POSITIVE, None)
    latency_us: float | None = key(POSITIVE_OR_ZERO, None)
    across: str | None = key(one_of("link", link_names), None)
    card_per_gpu: bool = key(FLAG, False)
    layerwise: bool = key(FLAG, False)
    sync_s: float = key(POSITIVE_OR_ZERO, 0.005)
    refused: float = key(CHANCE, 0.0)
    failed: float = key(CHANCE, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SLOSpec:
    """[slo]: limits in seconds; what is absent is no limit."""

    ttft: float = key(SECONDS, math.inf)
    tpot: float = key(SECONDS, math.inf)
    e2e: float | None = key(SECONDS, None)
    attainment: float = key(SHARE, 0.9)

    def slo(self) -> SLO:
        """As the metrics take it."""
        return SLO(self.ttft, self.tpot, self.e2e, self.attainment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """The whole file. ``table`` is what it was read from: nested dictionaries, paths made absolute."""

    model: str = key(TEXT)
    hardware: str = key(HARDWARE)
    cost: str = key(TEXT, "roofline")
    seed: int = key(COUNT_OR_ZERO, 0)
    workload: WorkloadSpec
    instances: tuple[InstanceSpec, ...]
    slo: SLO | None = None
    router: RouterSpec = RouterSpec()
    network: NetworkSpec = NetworkSpec()
    name: str = "experiment"
    table: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def num_gpus(self) -> int:
        """Accelerators of all instances."""
        return sum(spec.num_gpus for spec in self.instances)

    def with_changes(self, changes: Mapping[str, Any]) -> Experiment:
        """The experiment with other values: ``{"workload.rate": 6, "instances.0.count": 2}``.

        None takes a key out. Raises UserError as `load_experiment` does.
        """
        from course.simulator.experiment.load import changed

        return changed(self, changes)


SECTIONS: dict[str, type] = {
    "workload": WorkloadSpec,
    "instances": InstanceSpec,
    "router": RouterSpec,
    "network": NetworkSpec,
    "slo": SLOSpec,
}
"""Sections by name. What stands before the first section: the keys of `Experiment`."""
