"""One server, one token budget: what it does to TTFT, TPOT and the longest gap, and where the stalls are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial

import plotly.graph_objects as go

from course.curriculum.lesson_08_chunked_prefill import exercises
from course.figures import BudgetPoint, History, WatchedCluster, budget_overview, budget_summary
from course.metrics.latency import gaps_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.metrics.statistics import percentile
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import UNTIL_CHANGE, Plan, Scheduler
from course.serving.view import InstanceView
from course.simulator.costs.profile import SHIPPED, load_profile
from course.simulator.costs.registry import make_cost
from course.simulator.hardware import load_hardware
from course.simulator.run import CostModel
from course.simulator.shapes import load_shape
from course.simulator.virtual import VirtualDriver
from course.widgets import Choice, Explorer, LogSlider
from course.workload.arrivals import poisson_arrivals
from course.workload.build import build_workload, rows_from
from course.workload.lengths import Lognormal, lognormal_lengths
from course.workload.request import Workload

MakeScheduler = Callable[[int], Scheduler]
"""From a token budget to a scheduler: `Chunked`, the learner's or ours."""
Choose = Callable[[dict[int, list[float]], float], int | None]
"""From the gaps of each budget and a limit to the largest budget that keeps it: `largest_budget`."""
Run = tuple[tuple[RequestRecord, ...], History]

A100 = "A100, OPT-13B"
H100 = "H100, OPT-13B"
ADDED = "A100, OPT-13B, fits added up"
TINY = "2 cores, tiny model"
MACHINES = (A100, H100, ADDED, TINY)

NUM_REQUESTS = 20
EVERY = 4  # one of so many has a long prompt
BUDGETS = (64, 128, 256, 512, 1024, 2048, 4096)
BLOCK_TOKENS, NUM_BLOCKS = 16, 4096
SEED = 0

CONTROLS = (
    LogSlider("budget", "token budget", BUDGETS[0], BUDGETS[-1], 4096, help="Most tokens that a step computes"),
    LogSlider("prompt", "long prompts (tokens)", 256, 2048, 2048, help="One of four; OPT reads no more than 2,048"),
    LogSlider("rate", "requests per second", 1, 16, 4, help="How many new requests arrive each second"),
    LogSlider("limit", "limit on a gap (ms)", 25, 800, 100, help="A longer gap between two tokens is a stall"),
    Choice("machine", "machine", MACHINES, A100, help="Roofline; DistServe's fits; or steps measured here"),
)


class Steady:
    """The plans of a scheduler, said more briefly: all that decode at once, and for how long that holds.

    So the virtual clock can skip ahead. Right for a scheduler that lets in whoever waits as far as its budget goes: if
    it lets in nobody now, it does not later either, while the same sequences decode. The tests compare step by step.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def schedule(self, view: InstanceView) -> Plan:
        """The scheduler's own plan, unless it runs all that decode: then the same plan in brief."""
        plan, decoding = self.scheduler.schedule(view), view.decoding
        prompts = [chunk for chunk in plan.chunks if chunk.sequence not in decoding]
        runs_all = len(decoding) > 0 and (plan.decode_all or len(plan.chunks) - len(prompts) == len(decoding))
        if not runs_all or plan.preempt or plan.refuse or plan.wake_at_s is not None:
            return plan
        draft = view.draft()
        draft.decode_all()
        for sequence, num_tokens in prompts:
            draft.add(sequence, num_tokens)
        if not prompts:
            draft.plan.holds = UNTIL_CHANGE
        return draft.plan


@cache
def workload(prompt: int, rate: float) -> Workload:
    """The same requests for every budget: chats, and every fourth with a prompt of ``prompt`` tokens."""
    prompts, answers = Lognormal(48, 0.5, low=16, high=128), Lognormal(64, 0.4, low=16, high=160)
    num_prompt, num_output = lognormal_lengths(NUM_REQUESTS, prompts, answers, SEED)
    lengths = [prompt if i % EVERY == 2 else n for i, n in enumerate(num_prompt)]
    return build_workload(rows_from(poisson_arrivals(NUM_REQUESTS, rate, SEED), lengths, num_output))


@cache
def cost_of(machine: str) -> CostModel:
    """How long steps take there."""
    if machine == TINY:
        profile = load_profile(SHIPPED)
        return make_cost(str(SHIPPED), profile.model, profile.machine)
    hardware = load_hardware("h100" if machine == H100 else "a100-80gb")
    return make_cost("distserve-a100" if machine == ADDED else "roofline", load_shape("opt-13b"), hardware)


def simulate(scheduler: Scheduler, requests: Workload, machine: str = A100) -> Run:
    """Serve the requests on the virtual clock, and watch."""
    watched = WatchedCluster([Instance(scheduler, NUM_BLOCKS, BLOCK_TOKENS)])
    recorder = VirtualDriver(watched, cost_of(machine)).run(requests)
    return tuple(recorder.records), watched.history


def records_of(budget: int, prompt: int, rate: float, machine: str, chunked: MakeScheduler) -> list[RequestRecord]:
    """The same run as `serve`, unwatched, which is quicker."""
    cluster = Cluster([Instance(Steady(chunked(budget)), NUM_BLOCKS, BLOCK_TOKENS)])
    return VirtualDriver(cluster, cost_of(machine)).run(workload(prompt, rate)).records


@lru_cache(maxsize=256)
def serve(budget: int, prompt: int, rate: float, machine: str, chunked: MakeScheduler = exercises.chunked) -> Run:
    """One run, with a scheduler of that budget."""
    return simulate(Steady(chunked(budget)), workload(prompt, rate), machine)


def all_gaps_s(records: Sequence[RequestRecord]) -> list[float]:
    """The gaps of all answers, pooled."""
    return [gap for record in records for gap in gaps_s(record)]


def point(budget: int, records: Sequence[RequestRecord]) -> BudgetPoint:
    """What the users felt."""
    long = [i % EVERY == 2 for i in range(len(records))]
    first = [ttft_s(record) or 0.0 for record in records]
    return BudgetPoint(
        budget,
        percentile([t for t, is_long in zip(first, long, strict=True) if is_long], 50),
        percentile([t for t, is_long in zip(first, long, strict=True) if not is_long], 50),
        percentile([tpot_s(record) or 0.0 for record in records], 50),
        max(all_gaps_s(records)),
    )


@lru_cache(maxsize=64)
def tried(
    prompt: int, rate: float, machine: str, chunked: MakeScheduler = exercises.chunked
) -> tuple[tuple[BudgetPoint, ...], dict[int, list[float]]]:
    """Every budget: what the users felt, and all gaps."""
    runs = {budget: records_of(budget, prompt, rate, machine, chunked) for budget in BUDGETS}
    points = tuple(point(budget, records) for budget, records in runs.items())
    return points, {budget: all_gaps_s(records) for budget, records in runs.items()}


def _drawn(
    draw: Callable[..., object],
    budget: int,
    prompt: int,
    rate: float,
    limit: int,
    machine: str,
    chunked: MakeScheduler,
    choose: Choose,
) -> object:
    points, gaps = tried(prompt, rate, machine, chunked)
    records, history = serve(budget, prompt, rate, machine, chunked)
    return draw(points, budget, records, history, limit / 1e3, choose(gaps, limit / 1e3))


def figure(
    budget: int,
    prompt: int,
    rate: float,
    limit: int,
    machine: str,
    chunked: MakeScheduler = exercises.chunked,
    choose: Choose = exercises.largest_budget,
) -> go.Figure:
    """TTFT, TPOT and the longest gap over the budget above; the run of one budget below."""
    return _drawn(budget_overview, budget, prompt, rate, limit, machine, chunked, choose)  # type: ignore[return-value]


def summary(
    budget: int,
    prompt: int,
    rate: float,
    limit: int,
    machine: str,
    chunked: MakeScheduler = exercises.chunked,
    choose: Choose = exercises.largest_budget,
) -> str:
    """The same in one line."""
    return _drawn(budget_summary, budget, prompt, rate, limit, machine, chunked, choose)  # type: ignore[return-value]


def explorer(chunked: MakeScheduler = exercises.chunked, choose: Choose = exercises.largest_budget) -> Explorer:
    """With sliders; the scheduler and the choice of the budget may be the learner's own."""
    return Explorer(
        partial(figure, chunked=chunked, choose=choose), CONTROLS, partial(summary, chunked=chunked, choose=choose)
    )
