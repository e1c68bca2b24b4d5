"""TaiChi (arXiv 2508.01989): together or apart, under three pairs of limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from course.metrics.attainment import attainment
from course.simulator.experiment import experiment_from
from course.simulator.reproduce.register import Entry, Row, claim
from course.simulator.simulate import simulate
from course.workload.slo import SLO

NUM_INSTANCES = 6
RATE = 12.0
NUM_REQUESTS = 600
WANTED = 0.9
TOGETHER = [
    {"role": "mixed", "count": NUM_INSTANCES, "tp": 4, "scheduler": "chunked-prefill", "token_budget": 1024}
    | {"max_num_sequences": 256}
]
APART = [
    {"role": "prefill", "count": NUM_INSTANCES - 1, "tp": 4, "scheduler": "prefill-only", "token_budget": 4096},
    {"role": "decode", "count": 1, "tp": 4, "scheduler": "decode-only"},
]
STRICT_TPOT, STRICT_TTFT, BALANCED = SLO(16.0, 0.06), SLO(5.0, 0.25), SLO(6.0, 0.1)
PUBLISHED = {STRICT_TPOT: (0.07, 0.98), STRICT_TTFT: (0.97, 0.42), BALANCED: (0.16, 0.50)}


def shares(instances: list[dict[str, Any]]) -> dict[SLO, float]:
    """Attainment under each pair of limits, of one run."""
    experiment = experiment_from(
        {
            "model": "llama-2-70b",
            "hardware": "a100-80gb",
            "cost": "roofline",
            "workload": {"lengths": "arxiv", "rate": RATE, "requests": NUM_REQUESTS},
            "router": {"prefill": "least-pending-tokens"},
            "instances": instances,
        }
    )
    records = simulate(experiment).records
    return {slo: attainment(records, slo).both for slo in PUBLISHED}


def rows(data: Path) -> list[Row]:
    """Who wins under which limits."""
    together, apart = shares(TOGETHER), shares(APART)
    ours = {slo: (together[slo], apart[slo]) for slo in PUBLISHED}

    def row(what: str, slo: SLO, holds: bool, note: str = "") -> Row:
        limits = f"TTFT {slo.ttft_s:g} s, TPOT {slo.tpot_s:g} s"
        return claim(f"{limits}: {what}", _pair(PUBLISHED[slo]), _pair(ours[slo]), holds, note=note)

    return [
        row("apart wins (together, apart)", STRICT_TPOT, together[STRICT_TPOT] < WANTED <= apart[STRICT_TPOT]),
        row("together wins", STRICT_TTFT, apart[STRICT_TTFT] < WANTED <= together[STRICT_TTFT]),
        row(f"neither reaches {WANTED:.0%}", BALANCED, max(ours[BALANCED]) < WANTED, _NUMBERS),
    ]


def _pair(both: tuple[float, float]) -> str:
    return f"{both[0]:.0%}, {both[1]:.0%}"


_NUMBERS = (
    "theirs as notes on the paper give them; how many instances served the 12 rps is not among them, so only who wins "
    "is compared"
)

ENTRIES = (
    Entry(
        "taichi-three-limits",
        "TaiChi, arXiv 2508.01989",
        "motivation",
        f"Llama-2-70B, tp 4 on A100 (roofline), arXiv summaries at {RATE:g} rps, {NUM_REQUESTS} requests; "
        f"{NUM_INSTANCES} instances with chunks of 1024 tokens, or 5 for prefill and 1 for decode (our choice)",
        rows,
    ),
)
