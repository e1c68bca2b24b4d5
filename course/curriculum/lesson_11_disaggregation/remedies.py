"""What to do where the link is slow: move less often, and move fewer bytes."""

from __future__ import annotations

from collections.abc import Sequence as List
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from course.curriculum.lesson_11_disaggregation import exercises
from course.curriculum.lesson_11_disaggregation.explorer import (
    BLOCK,
    MACHINES,
    ExposedS,
    Settings,
    TransferS,
    cost_of,
    link_of,
)
from course.figures import WatchedCluster
from course.metrics.latency import gaps_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.serving.instance import Instance
from course.serving.routers import LeastRequests
from course.serving.schedulers import ChunkedPrefill, PrefillOnly
from course.serving.sequence import Sequence
from course.simulator.virtual import VirtualDriver
from course.workload.arrivals import poisson_arrivals
from course.workload.build import build_workload, rows_from
from course.workload.lengths import Lognormal, lognormal_lengths
from course.workload.request import Workload

NUM_REQUESTS = 120


class ShortOnesStay:
    """Conditional disaggregation: a prompt of up to ``limit`` tokens is computed where its answer will be written."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The decode worker for short prompts, the prefill worker for others."""
        role = "mixed" if sequence.num_prompt_tokens <= self.limit else "prefill"
        return next(instance for instance in candidates if instance.role == role)


class Run(NamedTuple):
    """What came out, and how many moves it took."""

    records: List[RequestRecord]
    num_moves: int = 0

    def __str__(self) -> str:
        ttft, tpot = (1e3 * np.median([f(record) or 0.0 for record in self.records]) for f in (ttft_s, tpot_s))
        gap = 1e3 * np.percentile([gap_s for record in self.records for gap_s in gaps_s(record)], 99)
        said = f"{self.num_moves:>3} moves, TTFT {ttft:>3.0f} ms, TPOT {tpot:>2.0f} ms"
        return f"{said}, 99% of the gaps within {gap:>3.0f} ms"


def mixed_prompts(rate: float) -> Workload:
    """Many short prompts and some long ones: lognormal, 256 tokens in the median."""
    prompts, answers = Lognormal(256, 1.1, low=16, high=1900), Lognormal(64, 0.4, low=8, high=128)
    lengths = lognormal_lengths(NUM_REQUESTS, prompts, answers, seed=1)
    return build_workload(rows_from(poisson_arrivals(NUM_REQUESTS, rate, 1), *lengths))


def serve(
    settings: Settings,
    limit: float = 0,
    transfer_s: TransferS = exercises.transfer_s,
    exposed_s: ExposedS = exercises.exposed_s,
) -> Run:
    """One worker for prompts above ``limit`` tokens; the other writes all answers, and computes the short prompts."""
    it = MACHINES[settings.machine]
    blocks = it.kv_tokens_apart // BLOCK
    first = Instance(PrefillOnly(), blocks, id=0, role="prefill")
    second = Instance(ChunkedPrefill(token_budget=it.token_budget), blocks, id=1, role="mixed")
    watched = WatchedCluster([first, second], ShortOnesStay(limit), LeastRequests())
    options: dict[str, Any] = {"network": link_of(settings, transfer_s, exposed_s), "kv_bytes_per_token": 1}
    driver = VirtualDriver(watched, cost_of(settings.machine), **options)
    return Run(driver.run(mixed_prompts(settings.rate)).records, len(watched.history.moves))


def serve_together(settings: Settings) -> Run:
    """Both workers do everything."""
    it = MACHINES[settings.machine]
    scheduler = partial(ChunkedPrefill, token_budget=it.token_budget)
    both = [Instance(scheduler(), it.kv_tokens // BLOCK, id=i) for i in (0, 1)]
    driver = VirtualDriver(WatchedCluster(both, LeastRequests()), cost_of(settings.machine))
    return Run(driver.run(mixed_prompts(settings.rate)).records)


def in_8_bits(transfer_s: TransferS = exercises.transfer_s) -> TransferS:
    """The same moves of a cache with one byte for each number."""

    def move_s(*arguments: Any) -> float:
        *others, _element_bytes = arguments
        return transfer_s(*others, 1)

    return move_s
