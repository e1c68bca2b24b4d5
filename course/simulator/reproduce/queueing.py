"""Queueing theory: the control plane against M/D/1 and M/M/1, and where DistServe's two parallelisms cross."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np

from course.metrics.latency import ttft_s
from course.serving.batch import Batch
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.schedulers import PrefillOnly
from course.simulator.linear import LinearCost
from course.simulator.reproduce.register import Entry, Row, claim, number
from course.simulator.run import CostModel
from course.simulator.theory import (
    crossover_load,
    mean_ttft_inter_op_s,
    mean_ttft_intra_op_s,
    mean_ttft_s,
    mm1_wait_s,
)
from course.simulator.virtual import VirtualDriver
from course.workload.arrivals import poisson_arrivals
from course.workload.build import build_workload, rows_from
from course.workload.lengths import IntArray
from course.workload.seeds import generator

NUM_REQUESTS = 10_000
MEAN_TOKENS = 1000
LOADS = (0.5, 0.8)
SPEEDUP = 1.5
CROSSOVERS = {1.2: 0.43, 1.3: 0.61, 1.4: 0.78, 1.5: 0.94, 1.6: 1.09, 1.7: 1.26, 1.8: 1.43, 1.9: 1.63}
"""Loads R D at which equations 2 and 3 are equal, solved numerically (the paper draws curves, without this table)."""


class ConstantCost:
    """Every step takes as long, its first stage the ``num_stages``-th part of that."""

    def __init__(self, step_s: float, num_stages: int = 1) -> None:
        self.step_s = step_s
        self.num_stages = num_stages

    def batch_s(self, batch: Batch) -> float:
        """Seconds of a step."""
        return self.step_s

    def batch_stage_s(self, batch: Batch) -> float:
        """Seconds until the first stage is free again."""
        return self.step_s / self.num_stages

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """Steps do not grow."""
        return self.step_s, 0.0


def simulated_mean_ttft_s(rate: float, cost: CostModel, prompt_tokens: IntArray, num_stages: int = 1) -> float:
    """Mean TTFT of prompts that one instance takes one by one, arrivals Poisson."""
    num = len(prompt_tokens)
    rows = rows_from(poisson_arrivals(num, rate, seed=0), prompt_tokens, np.ones(num, np.int64))
    instance = Instance(PrefillOnly(token_budget=1), 2 * num_stages, block_size=10**6, num_stages=num_stages)
    recorder = VirtualDriver(Cluster([instance]), cost).run(build_workload(rows))
    return statistics.fmean(first_s for record in recorder.records if (first_s := ttft_s(record)) is not None)


def one_device(data: Path) -> list[Row]:
    """Equation 1 and M/M/1, one prompt at a time."""
    equal = np.full(NUM_REQUESTS, MEAN_TOKENS)
    drawn = np.maximum(1, np.rint(generator(0, "exponential").exponential(MEAN_TOKENS, NUM_REQUESTS))).astype(np.int64)
    rows = []
    for load in LOADS:
        ours = simulated_mean_ttft_s(load, ConstantCost(1.0), equal)
        rows.append(number(f"M/D/1, load {load}: mean TTFT / D", mean_ttft_s(load, 1.0), ours, percent=10))
    for load in LOADS:
        ours = simulated_mean_ttft_s(load, LinearCost(0.0, 1 / MEAN_TOKENS), drawn)
        rows.append(number(f"M/M/1, load {load}: mean TTFT / mean D", 1 + mm1_wait_s(load, 1.0), ours, percent=10))
    return rows


def two_devices(data: Path) -> list[Row]:
    """Equations 2 and 3, and the loads at which they meet."""
    rows = []
    for load in (0.8, 1.2):
        inter, intra = _two_simulated(load)
        theirs = mean_ttft_inter_op_s(load, 1.0), mean_ttft_intra_op_s(load, 1.0, SPEEDUP)
        rows.append(number(f"inter-op, load {load}: mean TTFT / D", theirs[0], inter, percent=10))
        rows.append(number(f"intra-op, K = {SPEEDUP}, load {load}: mean TTFT / D", theirs[1], intra, percent=10))
        names = [" < ".join(_order(*pair)) for pair in (theirs, (inter, intra))]
        rows.append(claim(f"shorter at load {load}", names[0], names[1], names[0] == names[1]))
    for speedup, load in CROSSOVERS.items():
        rows.append(
            number(f"inter-op overtakes intra-op, K = {speedup}: at load", load, crossover_load(speedup), within=0.005)
        )
    return rows


def _two_simulated(load: float) -> tuple[float, float]:
    """Two stages of half the time each, and two devices that together are faster."""
    equal = np.full(NUM_REQUESTS, MEAN_TOKENS)
    inter = simulated_mean_ttft_s(load, ConstantCost(1.0, num_stages=2), equal, num_stages=2)
    return inter, simulated_mean_ttft_s(load, ConstantCost(1 / SPEEDUP), equal)


def _order(inter: float, intra: float) -> list[str]:
    return ["inter", "intra"] if inter < intra else ["intra", "inter"]


ENTRIES = (
    Entry(
        "queueing",
        "M/D/1 and M/M/1",
        "textbook; DistServe eq. 1",
        f"{NUM_REQUESTS:,} prompts, one at a time, through the control plane on the virtual clock",
        one_device,
    ),
    Entry(
        "parallelism",
        "DistServe, OSDI'24",
        "section 3.1, equations 2 and 3",
        "two devices for prefill: two pipeline stages, or both on every layer with a speed-up of K",
        two_devices,
    ),
)
