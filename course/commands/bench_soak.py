"""``python -m course bench soak``: a disaggregated server under load while its workers are killed at random."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course.errors import UserError

RATE = 4.0  # requests/s
PROMPT_TOKENS, OUTPUT_TOKENS = 96, 24
KILL_EVERY_S = 8.0  # in the mean
NUM_BLOCKS = 256  # few: all of them have soon been used, and a leak stands out against a small cache
NUM_KERNELS = 8
"""oneDNN keeps a kernel for each shape of matrix that it meets, 1024 of them: for minutes that looks like a leak."""
NUM_SAMPLES = 20  # rows of the table, however long it runs
PATIENCE_S = 180.0


@dataclass(slots=True)
class Sample:
    """What the processes hold at one moment, and what has happened until then.

    ``server_mb`` is the resident memory of the server, ``workers_mb`` what its other processes have for themselves
    (shared pages divided among those that share them).
    """

    time_s: float
    server_mb: float
    workers_mb: float
    num_processes: int
    num_files: int
    shm_mb: float
    num_kills: int
    num_finished: int
    num_lost: int


def bench_soak(args: Any) -> list[dict[str, Any]]:
    """Run, print a row now and then, return the samples. Raises UserError where this cannot be."""
    try:
        import psutil  # noqa: F401
    except ImportError:
        raise UserError("the soak needs psutil: pip install psutil") from None
    if not args.minutes > 0:
        raise UserError(f"--minutes must be positive, got {args.minutes}")
    command = [sys.executable, "-m", "course", "serve", "--mode", "disaggregated", "--port", "0"]
    command += ["--num-blocks", str(NUM_BLOCKS)]
    before = shm_mb()
    environment = os.environ | dict.fromkeys(
        ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"), str(NUM_KERNELS)
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            samples = asyncio.run(Soak(server, args.minutes * 60, before).run())
        finally:
            server.send_signal(signal.SIGINT)
            status = end(server)
    left = shm_mb() - before
    print(f"server ended with status {status}; /dev/shm holds {left:+.1f} MB compared with before")
    return [asdict(sample) for sample in samples]


def end(server: subprocess.Popen[str]) -> int:
    """Wait for the server's end; one that does not come is forced."""
    try:
        server.wait(timeout=60)
    except subprocess.TimeoutExpired:
        server.kill()
    return server.wait()


class Soak:
    """One run. The load is an open loop; a request that is not answered in full counts as lost."""

    def __init__(self, server: subprocess.Popen[str], seconds: float, shm_before_mb: float) -> None:
        import psutil

        self._server = server
        self._process = psutil.Process(server.pid)
        self._seconds = seconds
        self._shm_before_mb = shm_before_mb
        self._random = random.Random(0)
        self._num_kills = self._num_finished = self._num_lost = 0
        self._samples: list[Sample] = []

    async def run(self) -> list[Sample]:
        """Load, kills and samples beside one another."""
        from course.engine.client.call import Target
        from course.engine.client.load import OpenLoop, Style
        from course.engine.client.probe import probe
        from course.workload.arrivals import poisson_arrivals
        from course.workload.build import build_workload, rows_from
        from course.workload.lengths import Lognormal, lognormal_lengths
        from course.workload.prompts import with_prompt_tokens

        target = Target.of(await asyncio.to_thread(self._wait_for_url))
        card = await probe(target, None)
        num = max(1, round(self._seconds * RATE))
        lengths = lognormal_lengths(num, Lognormal(PROMPT_TOKENS, 0.7, 8, 512), Lognormal(OUTPUT_TOKENS, 0.7, 2, 128))
        workload = build_workload(rows_from(poisson_arrivals(num, RATE), *lengths), max_new_tokens="exact")
        workload = with_prompt_tokens(workload, card.vocab_size or 1000)
        print(
            f"{num} requests at {RATE:g}/s over {self._seconds:.0f} s; a worker killed every {KILL_EVERY_S:g} s or so\n"
            f"{'s':>6}{'server MB':>11}{'workers MB':>12}{'processes':>11}{'files':>7}{'shm MB':>8}{'kills':>7}"
            f"{'finished':>10}{'lost':>6}",
            flush=True,
        )
        self._start_s = time.perf_counter()
        others = [
            asyncio.create_task(self._repeat(self._kill, lambda: self._random.expovariate(1 / KILL_EVERY_S))),
            asyncio.create_task(self._repeat(self._sample, lambda: self._seconds / NUM_SAMPLES)),
        ]
        report = await OpenLoop(target, card, Style(), PATIENCE_S).run(workload, on_end=self._count)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._sample()
        reasons = sorted({record.error for record in report.records if not record.finished})
        print("\n".join([f"{self._num_lost} of {num} requests lost, {self._num_kills} workers killed", *reasons]))
        return self._samples

    def _wait_for_url(self) -> str:
        assert self._server.stdout
        for line in self._server.stdout:
            if found := re.search(r"at (http://\S+)/v1", line):
                drain(self._server)
                return found[1]
        raise UserError("the server ended before it was ready")

    def _count(self, record: Any) -> None:
        self._num_finished += record.finished
        self._num_lost += not record.finished

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause_s: Callable[[], float]) -> None:
        while True:
            await asyncio.sleep(pause_s())
            await work()

    async def _kill(self) -> None:
        """SIGKILL for one of the workers; what they are forked from is left alone."""
        workers = [child for nursery in self._process.children() for child in nursery.children()]
        if workers:
            os.kill(self._random.choice(workers).pid, signal.SIGKILL)
            self._num_kills += 1

    async def _sample(self) -> None:
        sample = await asyncio.to_thread(self._look)
        self._samples.append(sample)
        print(
            f"{sample.time_s:>6.0f}{sample.server_mb:>11.1f}{sample.workers_mb:>12.1f}{sample.num_processes:>11}"
            f"{sample.num_files:>7}{sample.shm_mb:>8.1f}{sample.num_kills:>7}{sample.num_finished:>10}{sample.num_lost:>6}",
            flush=True,
        )

    def _look(self) -> Sample:
        import psutil

        children = self._process.children(recursive=True)
        shared = 0.0
        for child in children:
            try:
                shared += child.memory_full_info().pss / 1e6
            except psutil.Error:  # it was killed just now
                continue
        return Sample(
            time_s=time.perf_counter() - self._start_s,
            server_mb=self._process.memory_info().rss / 1e6,
            workers_mb=shared,
            num_processes=1 + len(children),
            num_files=self._process.num_fds(),
            shm_mb=shm_mb() - self._shm_before_mb,
            num_kills=self._num_kills,
            num_finished=self._num_finished,
            num_lost=self._num_lost,
        )


def drain(server: subprocess.Popen[str]) -> None:
    """Read and forget what the server says from now on: it must not wait for a full pipe."""
    import threading

    assert server.stdout
    threading.Thread(target=lambda: [None for _ in server.stdout or ()], daemon=True).start()


def shm_mb() -> float:
    """What lies in shared memory of the system, in 10^6 bytes; 0 where there is no /dev/shm."""
    folder = Path("/dev/shm")
    sizes = [path.stat().st_size for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
    return sum(sizes) / 1e6
