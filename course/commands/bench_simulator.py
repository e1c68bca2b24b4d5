"""``python -m course bench simulator``: the simulator beside a plain loop of the same rules."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from typing import Any

from course import compiled
from course.errors import UserError

SMALL = 10_000
"""Up to that many requests a run is repeated; larger ones are long enough to be trusted at once."""


def bench_simulator(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each number of requests, printed as it comes."""
    from course.simulator.benchmark.bench import PRESET, SIZES, Row, bench, lines

    if args.requests is not None and args.requests < 1:
        raise UserError(f"--requests must be at least 1, got {args.requests}")
    if args.repeats < 1:
        raise UserError(f"--repeats must be at least 1, got {args.repeats}")
    sizes = SIZES if args.requests is None else (args.requests,)
    rows: list[Row] = []

    def measured() -> Iterator[Row]:
        for size in sizes:
            rows.append(bench(size, args.repeats if size <= SMALL else 1))
            yield rows[-1]

    how = "compiled (python -m course compile)" if compiled.is_used() else "plain Python"
    print(f"{PRESET}, requests drawn by the preset, Python {platform.python_version()}, one process")
    print(f"simulator: {how}; the plain loop is plain Python")
    print(f"up to {SMALL:,} requests the fastest of {args.repeats} runs, above that one run")
    for line in lines(measured()):
        print(line, flush=True)
    print("draw: the experiment and its requests; result: statistics and JSON; plain loop: every step is an event")
    return [row.as_json() for row in rows]
