"""The same requests on the same two cores: both phases on both workers, or each phase on its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from course.engine.disaggregated import DisaggregatedEngine
from course.engine.replay import serve
from course.engine.workers.arguments import MakeScheduler
from course.errors import UserError
from course.metrics.attainment import attainment, request_goodput
from course.metrics.latency import gaps_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.metrics.statistics import percentile, run_duration_s
from course.serving.instance import Role
from course.serving.schedulers import ChunkedPrefill, PrefillFirst
from course.workload.arrivals import poisson_arrivals
from course.workload.build import build_workload, rows_from
from course.workload.lengths import Lognormal, lognormal_lengths
from course.workload.prompts import with_prompt_tokens
from course.workload.request import Workload
from course.workload.slo import SLO

NUM_BLOCKS = 1024  # of 16 tokens, on each worker
LONG_SHARE = 0.15
CHAT = Lognormal(64, 0.6, 16, 256), Lognormal(64, 0.5, 16, 192)
DOCUMENT = Lognormal(1400, 0.3, 700, 2400), Lognormal(24, 0.4, 8, 64)
SLOS = {"interactive": SLO(ttft_s=1.0, tpot_s=0.015), "fast first token": SLO(ttft_s=0.25, tpot_s=0.030)}
CHUNK = 128


@dataclass(frozen=True, slots=True)
class System:
    """Two workers, and the policy of those that do both phases."""

    title: str
    workers: tuple[Role, Role]
    mixed: MakeScheduler | None = None


SYSTEMS = {
    "prefill-first": System("two mixed, prefill first", ("mixed", "mixed"), PrefillFirst),
    "chunked": System(f"two mixed, chunks of {CHUNK}", ("mixed", "mixed"), lambda: ChunkedPrefill(token_budget=CHUNK)),
    "disaggregated": System("one prefill, one decode", ("prefill", "decode")),
}


def make_requests(rate: float, num: int, vocab_size: int, seed: int = 0) -> Workload:
    """Poisson arrivals; most are chats, ``LONG_SHARE`` of them documents, each kind with lognormal lengths."""
    rng = np.random.default_rng(seed)
    is_long = rng.random(num) < LONG_SHARE
    chat, document = lognormal_lengths(num, *CHAT, seed=seed), lognormal_lengths(num, *DOCUMENT, seed=seed + 1)
    prompts = np.where(is_long, document.prompt_tokens, chat.prompt_tokens)
    outputs = np.where(is_long, document.output_tokens, chat.output_tokens)
    arrivals_s = poisson_arrivals(num, rate, seed, exact_total=True)
    return with_prompt_tokens(build_workload(rows_from(arrivals_s, prompts, outputs)), vocab_size, seed)


def run_bench(
    rates: Sequence[float],
    seconds: float,
    repeats: int,
    systems: Sequence[str] = tuple(SYSTEMS),
    on_run: Callable[[], object] = lambda: None,
) -> Iterator[dict[str, Any]]:
    """One row for each rate and system, the median run of ``repeats`` by its mean TTFT.

    Raises UserError for a system that is unknown and numbers below 1.
    """
    if unknown := [name for name in systems if name not in SYSTEMS]:
        raise UserError(f"unknown system {unknown[0]!r}; choose some of: {', '.join(SYSTEMS)}")
    if repeats < 1:
        raise UserError(f"--repeats must be at least 1, got {repeats}")
    engines = {name: _make_engine(SYSTEMS[name]) for name in systems}
    try:
        for rate in rates:
            work = make_requests(rate, round(rate * seconds), 4096)
            rows: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
            for _ in range(repeats):  # systems take turns, so that a slow minute hits all
                for name, engine in engines.items():
                    rows[name].append({"system": name, "rate": rate, **_measure(engine, work)})
                    on_run()
            for name in systems:
                ranked = sorted(rows[name], key=lambda row: row["ttft_mean_ms"])
                yield ranked[len(ranked) // 2]
    finally:
        for engine in engines.values():
            engine.close()


def _make_engine(system: System) -> DisaggregatedEngine:
    schedulers = {"mixed": system.mixed} if system.mixed else {}
    engine = DisaggregatedEngine("tiny", system.workers, schedulers=schedulers, num_blocks=NUM_BLOCKS)
    engine.generate([[7] * 512, [9] * 64, [8] * 512, [6] * 64], 8, ignore_end=True)  # warm up
    return engine


def _measure(engine: DisaggregatedEngine, work: Workload) -> dict[str, Any]:
    before = os.times()
    records = serve(engine, work)
    after = os.times()
    seconds = run_duration_s(records)
    statistics, moves = engine.statistics, engine.transfers
    share = (moves.copy_s + moves.throttle_s) / statistics.prefill_s if moves.num_done else 0.0
    waits = [r.end_s - r.start_s for r in moves.records if r.end_s is not None]
    return {
        "num_requests": len(records),
        "seconds": seconds,
        "tokens_per_s": sum(r.num_output_tokens + r.num_prompt_tokens for r in records) / seconds,
        **latencies_ms(records),
        **{f"goodput_{name.replace(' ', '_')}": request_goodput(records, slo, seconds) for name, slo in SLOS.items()},
        **{f"attainment_{name.replace(' ', '_')}": attainment(records, slo).both for name, slo in SLOS.items()},
        "prefill_s": statistics.prefill_s,
        "decode_s": statistics.decode_s,
        "num_transfers": moves.num_done,
        "transfer_mb": moves.num_bytes / 1e6,
        "copy_s": moves.copy_s,
        "copy_share_of_prefill": share,
        "handover_mean_ms": 1e3 * fmean(waits) if waits else 0.0,
        "engine_cpu_s": after.user + after.system - before.user - before.system,
    }


def latencies_ms(records: Sequence[RequestRecord]) -> dict[str, float]:
    """TTFT, TPOT and gaps of all answers, and the worst gap of all."""
    ttft = [1e3 * t for r in records if (t := ttft_s(r)) is not None]
    tpot = [1e3 * t for r in records if (t := tpot_s(r)) is not None]
    gaps = [1e3 * gap for r in records for gap in gaps_s(r)]
    return {
        "ttft_mean_ms": fmean(ttft),
        "ttft_p90_ms": percentile(ttft, 90),
        "tpot_mean_ms": fmean(tpot),
        "tpot_p90_ms": percentile(tpot, 90),
        "gap_p99_ms": percentile(gaps, 99),
        "gap_max_ms": max(gaps),
    }
