"""One system in a process of its own: ``python -m course.engine.benchmark.worker SYSTEM MODEL DTYPE NUM``.

Reads one line per run from standard input and answers each with one line of JSON; its first
answer says that a warm-up run is done.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Protocol

import torch

from course.engine.benchmark.work import Timing, Work, make_work
from course.model.config import benchmark_shape
from course.model.loading import DTYPES


class System(Protocol):
    """Something that can do the work."""

    def run(self, work: Work) -> Timing:
        """Serve all requests; they arrive as the run starts."""
        ...


def make_system(name: str, model: str, dtype: torch.dtype) -> System:
    """The system of that name; see ``bench.SYSTEMS``."""
    from course.engine.benchmark.hf import ContinuousSystem, GenerateSystem
    from course.engine.benchmark.ours import CourseSystem

    if name.startswith("course"):
        return CourseSystem(model, dtype, packed=name == "course-packed")
    if name == "hf-continuous":
        return ContinuousSystem(model, dtype)
    return GenerateSystem(model, dtype, batch_size=int(name.rsplit("-", 1)[1]))


def main(name: str, model: str, dtype: str, num_requests: str) -> None:
    """Serve runs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")  # whatever a library prints must not mix with the answers
    os.dup2(2, 1)
    torch.set_num_threads(1)
    work = make_work(model, benchmark_shape(model).vocab_size, int(num_requests) or None)
    system = make_system(name, model, DTYPES[dtype])
    system.run(Work(work.prompts[:4], work.output_lengths[:4]))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(_row(work, system)), file=answers, flush=True)
    answers.flush()
    os._exit(0)  # transformers' background thread would keep the process


def _row(work: Work, system: System) -> dict[str, float]:
    before_s = time.process_time()
    timing = system.run(work)
    cpu_s = time.process_time() - before_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "tokens_per_s": work.num_tokens / timing.seconds,
        "cpu_s": cpu_s,
        "mean_ttft_ms": timing.mean_ttft_ms(),
        "mean_tpot_ms": timing.mean_tpot_ms(),
        "peak_rss_mb": peak / (1e6 if sys.platform == "darwin" else 1024),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
