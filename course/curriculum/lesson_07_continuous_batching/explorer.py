"""One A100, five ways to say who joins the batch: what the users feel, and who runs when."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import plotly.graph_objects as go

from course.curriculum.lesson_07_continuous_batching import exercises
from course.figures import History, WatchedCluster, serving_overview, serving_summary
from course.metrics.latency import gaps_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.serving.instance import Instance
from course.serving.plan import UNTIL_CHANGE, Plan, Scheduler
from course.serving.schedulers import DecodeFirst, PrefillFirst, Static
from course.serving.view import InstanceView
from course.simulator.costs.fitted import FittedCost
from course.simulator.virtual import VirtualDriver
from course.widgets import Choice, Explorer, LogSlider, Slider
from course.workload.arrivals import poisson_arrivals
from course.workload.build import build_workload, rows_from
from course.workload.lengths import Lognormal, lognormal_lengths
from course.workload.request import Workload

MakeScheduler = Callable[[int], Scheduler]
"""From the most sequences that may run at once to a scheduler: `Reserving` and `OnDemand`, the learner's or ours."""
Run = tuple[tuple[RequestRecord, ...], History]
Serve = Callable[[float, float, int, int, str], Run]

STATIC = "static"
RESERVING = "Reserving"
ON_DEMAND = "OnDemand"
PREFILL_FIRST = "prompts first"
DECODE_FIRST = "answers first"
POLICIES = (STATIC, RESERVING, ON_DEMAND, PREFILL_FIRST, DECODE_FIRST)

NUM_REQUESTS = 32
BLOCK_TOKENS = 16
SEED = 0

CONTROLS = (
    LogSlider("rate", "requests per second", 1, 32, 8, help="How many new requests arrive each second"),
    Slider("spread", "spread of answer lengths", 0.0, 1.2, 0.2, 0.8, help="0: all alike; 0.8: a few are very long"),
    LogSlider("limit", "batch limit", 1, 64, 16, help="Sequences that may run at the same time"),
    LogSlider("memory", "KV memory (tokens)", 3_000, 48_000, 12_000, help="12,000: OPT-13B on a card of 40 GB"),
    Choice("policy", "who joins", POLICIES, STATIC, help="The scheduler"),
)


class Steady:
    """Adds to the plans of a scheduler for how long they hold, so that the virtual clock can skip ahead.

    Right for a scheduler whose plan stays as it is while answers grow and nobody comes or goes: then only blocks become
    fewer, so who could not join cannot join later. `Reserving` and `OnDemand` are such; the tests compare step by step.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def schedule(self, view: InstanceView) -> Plan:
        """The scheduler's own plan; one that runs all answers and nothing else holds until somebody comes or goes."""
        plan = self.scheduler.schedule(view)
        runs = {chunk.sequence for chunk in plan.chunks}
        if plan.preempt or plan.refuse or not runs or runs != set(view.decoding) or plan.wake_at_s is not None:
            return plan
        draft = view.draft()
        draft.decode_all()
        draft.plan.holds = UNTIL_CHANGE
        return draft.plan


def workload(rate: float, spread: float) -> Workload:
    """The same requests for every policy; a client declares the next power of two above its answer."""
    prompts, answers = Lognormal(128, 0.6, low=16, high=1024), Lognormal(64, spread, low=4, high=512)
    lengths = lognormal_lengths(NUM_REQUESTS, prompts, answers, SEED)
    return build_workload(rows_from(poisson_arrivals(NUM_REQUESTS, rate, SEED), *lengths))


def scheduler_of(policy: str, limit: int, reserving: MakeScheduler, on_demand: MakeScheduler) -> Scheduler:
    """A scheduler of that name."""
    match policy:
        case "static":
            return Static(limit)
        case "Reserving":
            return Steady(reserving(limit))
        case "OnDemand":
            return Steady(on_demand(limit))
        case "prompts first":
            return PrefillFirst(max_num_sequences=limit)
        case _:
            return DecodeFirst(max_num_sequences=limit, refill_below=max(1, limit // 2))


def simulate(scheduler: Scheduler, requests: Workload, kv_tokens: int) -> Run:
    """Serve the requests on one A100 with OPT-13B: DistServe's fitted step times on the virtual clock."""
    watched = WatchedCluster([Instance(scheduler, kv_tokens // BLOCK_TOKENS, BLOCK_TOKENS)])
    recorder = VirtualDriver(watched, FittedCost("distserve-a100", "opt-13b")).run(requests)
    return tuple(recorder.records), watched.history


@lru_cache(maxsize=64)
def serve(
    rate: float,
    spread: float,
    limit: int,
    memory: int,
    policy: str,
    reserving: MakeScheduler = exercises.reserving,
    on_demand: MakeScheduler = exercises.on_demand,
) -> Run:
    """One run on the virtual clock."""
    return simulate(scheduler_of(policy, limit, reserving, on_demand), workload(rate, spread), memory)


def figure(rate: float, spread: float, limit: int, memory: int, policy: str, serve: Serve = serve) -> go.Figure:
    """TTFT and TPOT of every request above, who ran when below."""
    return serving_overview(*serve(rate, spread, limit, memory, policy))


def summary(rate: float, spread: float, limit: int, memory: int, policy: str, serve: Serve = serve) -> str:
    """The same in one line."""
    run = serve(rate, spread, limit, memory, policy)
    return f"{serving_summary(*run)} {tokens_per_s(run):.0f} tokens/s."


def explorer(
    reserving: MakeScheduler = exercises.reserving, on_demand: MakeScheduler = exercises.on_demand
) -> Explorer:
    """With sliders; two of the schedulers may be the learner's own."""
    mine = partial(serve, reserving=reserving, on_demand=on_demand)
    return Explorer(partial(figure, serve=mine), CONTROLS, partial(summary, serve=mine))


def tokens_per_s(run: Run) -> float:
    """Output tokens per second from the first arrival to the last token."""
    records = run[0]
    end_s = max(record.token_times_s[-1] for record in records)
    return sum(record.num_output_tokens for record in records) / (end_s - records[0].arrival_s)


def say(run: Run) -> str:
    """TTFT, TPOT, longest gap, throughput, for a table."""
    records = run[0]
    ttft_ms, tpot_ms = (1000 * np.median([f(r) or 0.0 for r in records]) for f in (ttft_s, tpot_s))
    gap_ms = 1000 * max(max(gaps_s(record), default=0.0) for record in records)
    return (
        f"TTFT {ttft_ms:6,.0f} ms, TPOT {tpot_ms:3.0f} ms, longest gap {gap_ms:4.0f} ms, "
        f"{tokens_per_s(run):4.0f} tokens/s, {sum(record.num_preemptions for record in records)} preempted"
    )
