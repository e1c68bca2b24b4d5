"""Run an experiment on the virtual clock, and what can be asked of the run.

Nothing here costs time until it is asked for, and nothing costs time per token: a run of a million requests is read
from the steps of its instances and from the first and last token of each answer.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np

from course.metrics.answers import Answers
from course.metrics.attainment import Attainment, attainment
from course.metrics.record import Outcome, RequestRecord
from course.metrics.result import RunInfo, result_json
from course.metrics.statistics import run_duration_s
from course.serving.cluster import Cluster
from course.simulator.experiment.build import Setup
from course.simulator.experiment.spec import Experiment
from course.simulator.network import Network
from course.simulator.run import CostModel
from course.simulator.virtual import VirtualDriver
from course.workload.request import Workload
from course.workload.slo import SLO


@dataclass(frozen=True, slots=True)
class InstanceUse:
    """What one instance did.

    ``utilisation`` is the share of the run during which it computed. ``kv_tokens`` is the room of its KV cache
    (infinity where memory is no limit), ``kv_peak_tokens`` the most that was taken, in whole blocks.
    """

    id: int
    role: str
    tp: int
    pp: int
    scheduler: str
    num_steps: int
    busy_s: float
    utilisation: float
    kv_tokens: float
    kv_peak_tokens: int

    @property
    def kv_peak(self) -> float | None:
        """The peak as a share of the room; None where there is no limit."""
        return self.kv_peak_tokens / self.kv_tokens if math.isfinite(self.kv_tokens) else None

    def as_json(self) -> dict[str, Any]:
        """For the result file."""
        limited = math.isfinite(self.kv_tokens)
        return {
            "id": self.id,
            "role": self.role,
            "tp": self.tp,
            "pp": self.pp,
            "scheduler": self.scheduler,
            "num_steps": self.num_steps,
            "busy_s": self.busy_s,
            "utilisation": self.utilisation,
            "kv_tokens": self.kv_tokens if limited else None,
            "kv_peak_tokens": self.kv_peak_tokens,
            "kv_peak": self.kv_peak,
        }


@dataclass(eq=False)
class Simulation:
    """A run that is over. ``wall_s`` is how long computing it took; all other times are on the virtual clock."""

    setup: Setup
    driver: VirtualDriver
    network: Network | None
    wall_s: float

    @property
    def experiment(self) -> Experiment:
        """What was run."""
        return self.setup.experiment

    @property
    def workload(self) -> Workload:
        """What was served."""
        return self.setup.workload

    @cached_property
    def records(self) -> list[RequestRecord]:
        """One for each request (for each of its answers), in order of arrival."""
        return self.driver.recorder.records

    @cached_property
    def answers(self) -> Answers:
        """First and last tokens as arrays, in the order of `records`."""
        return Answers.of(self.records)

    @property
    def num_events(self) -> int:
        """Events that the virtual clock went through."""
        return self.driver.num_events

    @cached_property
    def simulated_s(self) -> float:
        """From the first arrival to the last token."""
        return run_duration_s(self.records, self.answers)

    @property
    def bytes_transferred(self) -> float:
        """Keys and values that moved between instances."""
        if self.network is not None:
            return self.network.num_bytes
        return float(self.driver.num_tokens_moved * self.setup.shape.kv_bytes_per_token)

    def attainment(self, slo: SLO | None = None) -> Attainment:
        """The shares of requests within the limits, those of the experiment by default."""
        return attainment(self.answers, slo or self.experiment.slo or SLO(math.inf, math.inf))

    @cached_property
    def instances(self) -> list[InstanceUse]:
        """What each instance did, by id."""
        return [self._use(id) for id in self.setup.kind_of]

    def _use(self, id: int) -> InstanceUse:
        kind = self.setup.kind_of[id]
        lane = self.driver.lanes.get(id)
        num_steps, busy_s = (lane.num_steps, lane.busy_s) if lane else (0, 0.0)
        pool = self.driver.cluster.instances[id].memory.pool
        return InstanceUse(
            id=id,
            role=kind.spec.role,
            tp=kind.spec.tp,
            pp=kind.spec.pp,
            scheduler=kind.spec.scheduler_name,
            num_steps=num_steps,
            busy_s=busy_s,
            utilisation=busy_s / self.simulated_s if self.simulated_s else 0.0,
            kv_tokens=kind.kv_tokens,
            kv_peak_tokens=pool.peak_used_blocks * pool.block_size,
        )

    @property
    def request_rate(self) -> float:
        """Requests per second: as the experiment says, else the mean of those that arrived (infinity: all at once)."""
        workload = self.experiment.workload
        if workload.rate is not None and workload.arrivals != "all-at-once":
            return workload.rate
        times_s = self.answers.arrival_s
        spread_s = float(np.ptp(times_s)) if len(times_s) else 0.0
        return (len(times_s) - 1) / spread_s if spread_s else math.inf

    def result(self, *, detailed: bool = False) -> dict[str, Any]:
        """The run as JSON, in the names of ``vllm bench serve``; what it does not have comes last."""
        experiment = self.experiment
        info = RunInfo(
            backend="course-simulator",
            label=experiment.name,
            model_id=experiment.model,
            request_rate=self.request_rate,
            burstiness=experiment.workload.burstiness or 1.0,
            metadata={
                "hardware": experiment.hardware,
                "cost": experiment.cost,
                "seed": experiment.seed,
                "num_gpus": experiment.num_gpus,
            },
        )
        result = result_json(
            self.records,
            info=info,
            duration_s=self.simulated_s,
            slo=experiment.slo,
            detailed=detailed,
            answers=self.answers,
        )
        goodput = result["request_goodput"]
        return result | {
            "request_goodput_per_gpu": None if goodput is None else goodput / experiment.num_gpus,
            "instances": [use.as_json() for use in self.instances],
            "bytes_transferred": self.bytes_transferred,
            "num_clipped": self.workload.num_clipped,
            "length_scale": self.workload.scale,
            "simulated_s": self.simulated_s,
            "wall_s": self.wall_s,
            "num_events": self.num_events,
        }

    @property
    def refused(self) -> list[RequestRecord]:
        """Requests that could never be served."""
        return [record for record in self.records if record.outcome is Outcome.REFUSED]


def simulate(
    experiment: Experiment,
    workload: Workload | None = None,
    costs: Mapping[int, CostModel] | None = None,
    *,
    make_cluster: Callable[..., Cluster] = Cluster,
) -> Simulation:
    """Serve the experiment's requests.

    Args:
        experiment: what to run.
        workload: other requests than its own.
        costs: cost models by instance id instead of its own.
        make_cluster: a class of cluster that watches what happens.

    Raises:
        UserError: when the experiment cannot run, or its schedulers leave requests waiting for ever.
    """
    setup = Setup(experiment, workload)
    driver = VirtualDriver(
        setup.cluster(make_cluster),
        costs or setup.costs,
        network=(network := setup.network()),
        kv_bytes_per_token=setup.shape.kv_bytes_per_token,
    )
    start_s = perf_counter()
    with _without_garbage_collection():
        driver.run(setup.workload)
    return Simulation(setup, driver, network, perf_counter() - start_s)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A run makes many objects and no cycles: looking for some again and again would cost a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
