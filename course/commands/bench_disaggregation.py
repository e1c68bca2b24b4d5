"""``python -m course bench disaggregation``: prefill and decode together or apart, on the same two cores."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

RATES = (3.0, 6.0, 9.0)
SECONDS = 12.0

COLUMNS = {
    "ttft_mean_ms": ("TTFT mean", "{:.0f}"),
    "ttft_p90_ms": ("TTFT p90", "{:.0f}"),
    "tpot_mean_ms": ("TPOT mean", "{:.1f}"),
    "tpot_p90_ms": ("TPOT p90", "{:.1f}"),
    "gap_p99_ms": ("gap p99", "{:.0f}"),
    "gap_max_ms": ("gap max", "{:.0f}"),
    "tokens_per_s": ("tokens/s", "{:.0f}"),
    "goodput_interactive": ("good A/s", "{:.2f}"),
    "goodput_fast_first_token": ("good B/s", "{:.2f}"),
}


def bench_disaggregation(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure, print the table as it grows; the rows."""
    import torch
    from tqdm import tqdm

    from course.engine.benchmark.disaggregation import LONG_SHARE, SLOS, SYSTEMS, run_bench

    systems = args.systems or list(SYSTEMS)
    rows: list[dict[str, Any]] = []
    print(
        f"tiny model, two workers of one core each ({os.cpu_count()} cores here), {SECONDS:.0f} s of arrivals at each "
        f"rate, {LONG_SHARE:.0%} of the prompts long; median of {args.repeats}\n"
        f"torch {torch.__version__}, Python {sys.version.split()[0]}; milliseconds; tokens/s count prompts and answers"
    )
    with tqdm(total=len(RATES) * len(systems) * args.repeats, unit="run", desc="bench", leave=False) as bar:
        for row in run_bench(RATES, SECONDS, args.repeats, systems, on_run=bar.update):
            rows.append(row)
            tqdm.write(line(SYSTEMS[row["system"]].title, row, header=len(rows) == 1))
    for letter, slo in zip("AB", SLOS.values(), strict=True):
        print(f"good {letter}: TTFT within {slo.ttft_s * 1e3:.0f} ms and TPOT within {slo.tpot_s * 1e3:.0f} ms")
    for row in rows:
        if row["num_transfers"]:
            print(
                f"rate {row['rate']:g}: {row['num_transfers']} moves, {row['transfer_mb']:.0f} MB, copied in "
                f"{row['copy_s'] * 1e3:.0f} ms = {row['copy_share_of_prefill']:.2%} of {row['prefill_s']:.1f} s of "
                "prefill; "
                f"from first token to commit {row['handover_mean_ms']:.1f} ms in the mean"
            )
    return rows


def line(title: str, row: dict[str, Any], header: bool) -> str:
    """A row of the table, under its header if it is the first."""
    cells = "".join(f"{shape.format(row[key]):>11}" for key, (_, shape) in COLUMNS.items())
    text = f"{row['rate']:>5.1f}  {title:<26}{cells}"
    if not header:
        return text
    return f"{'req/s':>5}  {'system':<26}" + "".join(f"{name:>11}" for name, _ in COLUMNS.values()) + "\n" + text
