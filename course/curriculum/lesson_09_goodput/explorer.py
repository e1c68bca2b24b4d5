"""One simulated A100 with OPT-13B, two ways to schedule it: what users feel, and how many requests it can take."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import plotly.graph_objects as go

from course.curriculum.lesson_09_goodput import exercises
from course.figures import Cloud, Curve, slo_cloud, slo_cloud_summary
from course.metrics.answers import Answers
from course.metrics.record import RequestRecord
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import Scheduler
from course.serving.schedulers import ChunkedPrefill, PrefillFirst
from course.simulator.costs.fitted import FittedCost
from course.simulator.experiment import experiment_from
from course.simulator.simulate import simulate
from course.simulator.virtual import VirtualDriver
from course.widgets import Choice, Explorer, Slider
from course.workload.build import build_workload, rows_from
from course.workload.lengths import Lognormal, lognormal_lengths
from course.workload.request import Workload
from course.workload.slo import SLO

OpenLoop = Callable[[int, float, np.random.Generator, Callable[[float], float]], None]
Served = exercises.Served
AttainmentOf = Callable[[list[Served], float, float], float]
GoodputOf = Callable[[Callable[[float], float], float, float, float], float]

A, B = "A: whole prompts first", "B: prompts in chunks"
SYSTEMS = (A, B)
NUM_REQUESTS = 300
MAX_RATE, TOLERANCE = 8.0, 0.25
RATES = tuple(0.5 * i for i in range(1, 15))
PROMPTS, ANSWERS = Lognormal(512, 0.6, low=32, high=2000), Lognormal(64, 0.6, low=4, high=512)
KV_TOKENS, BLOCK_TOKENS = 60_000, 16

CONTROLS = (
    Choice("system", "system", SYSTEMS, A, help="The same GPU and model, scheduled in two ways"),
    Slider("rate", "requests per second", 0.5, 7.0, 0.5, 4.0, help="The dots are the requests of a run at this rate"),
    Slider("ttft_ms", "TTFT limit (ms)", 100, 2000, 100, 1000, help="A good request has its first token by then"),
    Slider("tpot_ms", "TPOT limit (ms)", 25, 100, 5, 50, help="And then a token so often, in the mean"),
    Slider("goal", "wanted within limits (%)", 50, 99, 1, 90, help="Share of all requests that must be good"),
)


def scheduler_of(system: str) -> Scheduler:
    """A stops all answers while prompts wait; B gives each step a budget of 256 tokens, answers first."""
    return PrefillFirst(max_num_sequences=128) if system == A else ChunkedPrefill(token_budget=256)


@lru_cache(maxsize=4)
def unit_arrivals(open_loop: OpenLoop = exercises.open_loop) -> tuple[float, ...]:
    """When requests are sent at one a second. At another rate the same users come closer together or further apart."""
    sent: list[float] = []

    def send(time_s: float) -> float:
        sent.append(float(time_s))
        return float(time_s)

    open_loop(NUM_REQUESTS, 1.0, np.random.default_rng(0), send)
    return tuple(sent)


def workload(rate: float, open_loop: OpenLoop = exercises.open_loop) -> Workload:
    """The same requests at every rate; an infinite one is a batch job: all are there at once."""
    arrivals = np.array(unit_arrivals(open_loop)) / rate
    return build_workload(rows_from(arrivals, *lognormal_lengths(NUM_REQUESTS, PROMPTS, ANSWERS, seed=0)))


@lru_cache(maxsize=512)
def serve(system: str, rate: float, open_loop: OpenLoop = exercises.open_loop) -> tuple[RequestRecord, ...]:
    """One run on the virtual clock: DistServe's fitted step times of OPT-13B on one A100."""
    cluster = Cluster([Instance(scheduler_of(system), KV_TOKENS // BLOCK_TOKENS, BLOCK_TOKENS)])
    driver = VirtualDriver(cluster, FittedCost("distserve-a100", "opt-13b"))
    return tuple(driver.run(workload(rate, open_loop)).records)


@lru_cache(maxsize=512)
def log(system: str, rate: float, open_loop: OpenLoop = exercises.open_loop) -> list[Served]:
    """The same run as a server's log has it."""
    return as_log(serve(system, rate, open_loop))


def as_log(records: Any) -> list[Served]:
    """Records as (arrival_s, token_times_s, finished)."""
    return [(record.arrival_s, list(record.token_times_s), record.finished) for record in records]


def figure_1(rate: float) -> list[Served]:
    """The one GPU with both phases of DistServe's figure 1, at a rate, with the step times of the vLLM of then."""
    mixed = {"role": "mixed", "scheduler": "prefill-first", "max_num_sequences": 256}
    lengths = {"prompt_tokens": 512, "output_tokens": 64, "rate": rate, "requests": 500}
    setting = {"model": "opt-13b", "hardware": "a100-80gb", "cost": "vllm-a100", "workload": lengths}
    return as_log(simulate(experiment_from(setting | {"instances": [mixed]})).records)


def throughput(system: str, open_loop: OpenLoop = exercises.open_loop) -> float:
    """Requests per second while there is always more to do than it can: all requests are there from the beginning."""
    records = serve(system, float("inf"), open_loop)
    return len(records) / max(record.token_times_s[-1] for record in records)


@lru_cache(maxsize=512)
def cloud_of(system: str, rate: float, open_loop: OpenLoop = exercises.open_loop) -> Cloud:
    """TTFT and TPOT of each request of a run."""
    answers = Answers.of(serve(system, rate, open_loop))
    done = answers.those(answers.is_finished)
    num_failed = len(answers.arrival_s) - len(done.arrival_s)
    return Cloud(rate, tuple(done.ttft_s.tolist()), tuple(np.nan_to_num(done.tpot_s).tolist()), num_failed)


class Measured:
    """The learner's three functions at work on the simulated systems."""

    def __init__(
        self,
        open_loop: OpenLoop = exercises.open_loop,
        attainment: AttainmentOf = exercises.attainment,
        goodput: GoodputOf = exercises.goodput,
    ) -> None:
        self.open_loop, self.attainment, self.find = open_loop, attainment, goodput
        self._share = lru_cache(maxsize=4096)(self._judge)  # most controls leave most shares as they were

    def _judge(self, system: str, rate: float, ttft_s: float, tpot_s: float) -> float:
        return self.attainment(log(system, rate, self.open_loop), ttft_s, tpot_s)

    def share(self, system: str, rate: float, slo: SLO) -> float:
        """Attainment at a rate."""
        return self._share(system, rate, slo.ttft_s, slo.tpot_s)

    def goodput(self, system: str, slo: SLO) -> float:
        """The largest rate with enough good requests."""
        return self.find(lambda rate: self.share(system, rate, slo), slo.attainment, MAX_RATE, TOLERANCE)

    def curve(self, system: str, slo: SLO) -> Curve:
        """Attainment of each limit alone and of both, rate by rate."""
        never = float("inf")
        alone = [SLO(slo.ttft_s, never), SLO(never, slo.tpot_s), slo]
        ttft, tpot, both = (tuple(self.share(system, rate, each) for rate in RATES) for each in alone)
        return Curve(RATES, ttft, tpot, both, self.goodput(system, slo))


def slo_of(ttft_ms: float, tpot_ms: float, goal: float) -> SLO:
    """Limits in seconds, the share wanted from 0 to 1."""
    return SLO(ttft_ms / 1e3, tpot_ms / 1e3, attainment=goal / 100)


def figure(system: str, rate: float, ttft_ms: float, tpot_ms: float, goal: float, *, measured: Measured) -> go.Figure:
    """The cloud of requests and the curve of attainment."""
    slo = slo_of(ttft_ms, tpot_ms, goal)
    shown = cloud_of(system, rate, measured.open_loop)
    return slo_cloud(shown, slo, measured.curve(system, slo), f"{system}, OPT-13B on one A100")


def summary(system: str, rate: float, ttft_ms: float, tpot_ms: float, goal: float, *, measured: Measured) -> str:
    """The same in words, with the throughput beside."""
    slo = slo_of(ttft_ms, tpot_ms, goal)
    shown = cloud_of(system, rate, measured.open_loop)
    said = slo_cloud_summary(shown, slo, measured.curve(system, slo))
    return f"{said} Throughput: {throughput(system, measured.open_loop):.1f} requests/s."


def explorer(measured: Measured | None = None) -> Explorer:
    """With sliders; arrivals, attainment and goodput may be the learner's own."""
    measured = measured or Measured()
    for system in SYSTEMS:
        for step in range(1, round(MAX_RATE / TOLERANCE) + 1):  # all rates that a search can try: then no move waits
            log(system, step * TOLERANCE, measured.open_loop)
        throughput(system, measured.open_loop)
    return Explorer(partial(figure, measured=measured), CONTROLS, partial(summary, measured=measured))
