"""All systems side by side: one process each, taking turns, medians of several repeats."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from course.errors import UserError

SYSTEMS = {
    "course": "this engine, public torch operators",
    "course-packed": "this engine, pre-packed weights",
    "hf-generate-1": "transformers generate, one by one",
    "hf-generate-8": "transformers generate, static batches of 8",
    "hf-continuous": "transformers continuous batching (sdpa)",
}
BASELINE = "hf-continuous"
FIGURES = ("tokens_per_s", "mean_ttft_ms", "mean_tpot_ms", "peak_rss_mb", "cpu_s")


class Worker:
    """A child process that holds one system. One thread of computation each."""

    def __init__(self, system: str, model: str, dtype: str, num_requests: int | None) -> None:
        self.system = system
        command = [sys.executable, "-m", "course.engine.benchmark.worker", system, model, dtype, str(num_requests or 0)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | threads,
        )
        self._read()

    def run(self) -> dict[str, float]:
        """One timed run."""
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self._read()

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return dict(json.loads(line))
        last_words = (self.process.communicate()[1] or "").strip().splitlines()[-1:]
        raise RuntimeError(f"the benchmark's process for {self.system} died: {''.join(last_words)}")


def check_options(systems: Sequence[str], repeats: int, num_requests: int | None) -> None:
    """Raise UserError for an unknown system, no repeats or no requests."""
    if unknown := [name for name in systems if name not in SYSTEMS]:
        raise UserError(f"unknown system {unknown[0]!r}; choose from: {', '.join(SYSTEMS)}")
    if repeats < 1:
        raise UserError(f"repeats must be at least 1, got {repeats}")
    if num_requests is not None and num_requests < 1:
        raise UserError(f"the benchmark needs at least 1 request, got {num_requests}")


def run_bench(
    model: str = "tiny",
    systems: Sequence[str] = tuple(SYSTEMS),
    repeats: int = 3,
    dtype: str = "float32",
    num_requests: int | None = None,
    on_run: Callable[[str], None] = lambda system: None,
) -> list[dict[str, Any]]:
    """Rows {system, tokens_per_s, mean_ttft_ms, mean_tpot_ms, peak_rss_mb, cpu_s}, medians of the repeats.

    ``cpu_s`` is what the process computed: far below the wall time, another program was in the way.

    Systems take turns within each repeat, so that a slow minute of the machine hits all alike.
    Raises UserError as `check_options` does.
    """
    check_options(systems, repeats, num_requests)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    workers: list[Worker] = []
    try:
        for name in runs:
            workers.append(Worker(name, model, dtype, num_requests))
        for _ in range(repeats):
            for worker in workers:
                runs[worker.system].append(worker.run())
                on_run(worker.system)
    finally:
        for worker in workers:
            worker.stop()
    return [
        {"system": name, **{figure: statistics.median(run[figure] for run in rows) for figure in FIGURES}}
        for name, rows in runs.items()
    ]
