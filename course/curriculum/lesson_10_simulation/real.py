"""The tiny model on this machine: its steps timed, its requests served, and what step times those of others are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from course.engine.local import LocalEngine
from course.engine.profiling import Recording, StepShape
from course.engine.replay import serve as replay
from course.engine.texts import Token
from course.metrics.latency import tpot_s, ttft_s
from course.metrics.record import Outcome, RequestRecord
from course.model.loading import Model
from course.serving.batch import Batch
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.schedulers import PrefillFirst
from course.simulator.costs.distserve import published
from course.simulator.virtual import VirtualDriver
from course.workload.arrivals import poisson_arrivals
from course.workload.build import build_workload, rows_from
from course.workload.lengths import Lognormal, lognormal_lengths
from course.workload.request import Workload

StepTime = Callable[[list[int], list[int]], float]
"""Seconds of a step, from the lengths of its prompts and the cached tokens of its decodes."""
Steps = list[tuple[list[int], list[float]]]
"""Lengths of a step's sequences, and how long it took, once for each round."""
Job = tuple[float, int, int]

PREFILLS = (
    *((n,) for n in (8, 32, 64, 128, 192, 256, 384, 512)),
    *((64, 64), (128, 32), (256, 128), (16, 16, 16, 16)),
)
DECODES = tuple((n,) * batch for batch in (1, 2, 4, 8, 16) for n in (32, 128, 256, 512))
NUM_BLOCKS, BLOCK_TOKENS = 2048, 16
NO_LIMIT = 1_000_000


def record(model: Model, rounds: int = 5) -> tuple[Steps, Steps]:
    """Time steps of many sizes on the engine, each once a round, in processor time: of prompts, and of decodes."""
    shapes = [StepShape(prompts=tuple((0, n) for n in lengths)) for lengths in PREFILLS]
    shapes += [StepShape(contexts=lengths) for lengths in DECODES]
    recording = Recording(model, shapes, clock=time.thread_time)
    for _ in range(rounds):
        recording.run_round()
    steps = [
        (list(lengths), seconds) for lengths, seconds in zip([*PREFILLS, *DECODES], recording.seconds, strict=True)
    ]
    return steps[: len(PREFILLS)], steps[len(PREFILLS) :]


@dataclass(frozen=True)
class Fitted:
    """Step times of DistServe's form, with constants as `fit_steps` gives them; also a cost model of the course."""

    prefill: Sequence[float]
    decode: Sequence[float]

    def step_s(self, prompts: list[int], contexts: list[int]) -> float:
        """What `serve` asks for: one of the two lists is empty."""
        if prompts:
            a, b, c = self.prefill
            return a + b * sum(prompts) + c * sum(n * n for n in prompts)
        a, b, c = self.decode
        return a + b * sum(contexts) + c * len(contexts)

    def batch_s(self, batch: Batch) -> float:
        """What the course's simulator asks for. No step has both kinds, where prompts go first."""
        if batch.prompts:
            return self.step_s([chunk.num_tokens for chunk in batch.prompts], [])
        return self.decode_series_s(batch)[0]

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """The next step of the same decodes reads one token more for each of them."""
        a, b, c = self.decode
        return a + b * batch.num_decode_context_tokens + c * batch.num_decodes, b * batch.num_decodes


def published_step(engine: str, model: str = "opt-13b", tp: int = 1) -> StepTime:
    """A step as DistServe's simulator charges it on one A100 (or ``tp``): its fit, and the dispatch through Ray."""
    constants = published()["engines"][engine][model][str(tp)]
    large_batch = published()["large_batch"]

    def step_s(prompts: list[int], contexts: list[int]) -> float:
        tokens, num = sum(prompts), len(contexts)
        if prompts:
            a, b, c = constants["prefill"]
            return (a + b * tokens + c * sum(n * n for n in prompts) + 3 + 1e-4 * tokens) / 1e3
        a, b, c = constants["decode_small" if num < large_batch else "decode_large"]
        cached = sum(contexts)
        return (a + b * (cached + num) + c * num + 2 + 1e-4 * cached) / 1e3

    return step_s


def some_workload(num: int, rate: float, vocab_size: int, seed: int = 0) -> Workload:
    """Requests of lognormal lengths, so many a second at random (infinity: all at once), with token ids."""
    arrivals_s = poisson_arrivals(num, rate, seed) if np.isfinite(rate) else np.zeros(num)
    prompts, answers = Lognormal(128, 0.7, low=8, high=512), Lognormal(24, 0.6, low=4, high=64)
    built = build_workload(
        rows_from(arrivals_s, *lognormal_lengths(num, prompts, answers, seed)), max_new_tokens="exact"
    )
    rng = np.random.default_rng(seed)
    requests = [
        replace(request, prompt=tuple(rng.integers(0, vocab_size, request.num_prompt_tokens).tolist()))
        for request in built.requests
    ]
    return replace(built, requests=requests)


def jobs_of(workload: Workload) -> list[Job]:
    """The requests as `serve` takes them."""
    return [(r.arrival_s, r.num_prompt_tokens, workload.output_lengths[r.id]) for r in workload.requests]


def records_of(jobs: Sequence[Job], tokens: Sequence[Sequence[float]]) -> list[RequestRecord]:
    """What `serve` answers, as the course's metrics take it."""
    return [
        RequestRecord(arrival_s, prompt, list(row), Outcome.FINISHED, row[-1], request_id=number)
        for number, ((arrival_s, prompt, _), row) in enumerate(zip(jobs, tokens, strict=True))
    ]


def prompts_first() -> PrefillFirst:
    """The scheduler that `serve` is: whole prompts, all that wait, before any answer goes on."""
    return PrefillFirst(max_num_sequences=None, token_budget=NO_LIMIT, watermark=0.0)


def on_the_virtual_clock(workload: Workload, cost: Fitted) -> tuple[list[RequestRecord], int]:
    """The course's simulator, with that scheduler; also how many events it went through."""
    driver = VirtualDriver(Cluster([Instance(prompts_first(), NUM_BLOCKS, BLOCK_TOKENS)]), cost)
    return driver.run(workload).records, driver.num_events


class OwnTime:
    """A clock of what this thread computes, however busy the machine is; where there is nothing to do, it jumps."""

    def __init__(self) -> None:
        self.jumped_s = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return time.thread_time() + self.jumped_s


class JumpingEngine(LocalEngine):
    """An engine on that clock: it does not wait for the next arrival, it goes there."""

    def __init__(self, model: Model) -> None:
        self.own_time = OwnTime()
        scheduler, clock = prompts_first(), self.own_time
        super().__init__(model, scheduler, num_blocks=NUM_BLOCKS, block_size=BLOCK_TOKENS, clock=clock)

    def advance(self, until_s: float | None = None) -> list[Token]:
        """A step, or where nothing can run, a jump to ``until_s``; the scheduler never asks to be woken."""
        tokens = self.step()
        if tokens is None:
            if until_s is None:
                self.cluster.check_not_stalled()
            else:
                self.own_time.jumped_s += max(0.0, until_s - self.now_s)
        return tokens or []


def on_the_engine(model: Model, workload: Workload, runs: int = 3) -> list[RequestRecord]:
    """The real engine and model, with that scheduler; of so many runs the middle one, as of timings the median."""
    engine = JumpingEngine(model)
    engine.generate([[0] * 64] * 4, 16, ignore_end=True)  # the first steps are slow
    by_time = sorted(
        (list(replay(engine, workload)) for _ in range(runs)),
        key=lambda records: sum(record.token_times_s[-1] - record.arrival_s for record in records),
    )
    return by_time[runs // 2]


def latencies(predicted: Sequence[RequestRecord], measured: Sequence[RequestRecord]) -> dict[str, list[Any]]:
    """(predicted, measured) seconds of each request's TTFT and TPOT."""
    return {
        name: [(latency(one) or 0.0, latency(other) or 0.0) for one, other in zip(predicted, measured, strict=True)]
        for name, latency in (("TTFT", ttft_s), ("TPOT", tpot_s))
    }
