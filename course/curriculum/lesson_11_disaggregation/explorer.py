"""Two workers, together or apart: what users feel, what moving keys and values costs, who works when.

Everything runs on the virtual clock, on four machines. The moves take as long as `transfer_s` and `exposed_s` say,
which may be the learner's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from course.curriculum.lesson_11_disaggregation import exercises
from course.curriculum.lesson_11_disaggregation.link import OneLink
from course.curriculum.lesson_11_disaggregation.shared_card import SharedCardDriver
from course.figures import History, WatchedCluster
from course.figures.together_apart import Served, Toll, together_apart, together_apart_summary
from course.metrics.latency import gaps_s
from course.metrics.record import RequestRecord
from course.serving.instance import Instance
from course.serving.routers import LeastRequests
from course.serving.schedulers import ChunkedPrefill, DecodeOnly, PrefillOnly
from course.simulator.costs.registry import make_cost
from course.simulator.estimate import CostEstimator
from course.simulator.hardware import load_hardware
from course.simulator.links import Link, load_link
from course.simulator.run import CostModel
from course.simulator.shapes import load_shape
from course.simulator.virtual import VirtualDriver
from course.widgets import Choice, Explorer, LogSlider, Slider, Toggle
from course.workload.arrivals import poisson_arrivals
from course.workload.build import build_workload, rows_from
from course.workload.lengths import Lognormal, lognormal_lengths
from course.workload.request import Workload

TransferS = Callable[..., float]
ExposedS = Callable[[float, float, int, float], float]


class Machine(NamedTuple):
    """Where the two workers run: a model, its cost, and tokens of KV memory together and apart, for each worker."""

    model: str
    hardware: str
    cost: str
    kv_tokens: int
    kv_tokens_apart: int
    token_budget: int = 512
    num_devices: int = 2


OPT, LLAMA = "two A100s, OPT-13B", "two A100s, Llama-3.1-8B (GQA)"
ONE_CARD, CPUS = "one A100, OPT-13B", "two CPU cores, the tiny model"
MACHINES = {
    OPT: Machine("opt-13b", "a100-80gb", "distserve-a100", 66_144, 66_144),
    LLAMA: Machine("llama-3.1-8b", "a100-80gb", "roofline", 400_000, 400_000),
    ONE_CARD: Machine("opt-13b", "a100-80gb", "distserve-a100", 66_144, 12_000, num_devices=1),
    CPUS: Machine("tiny", "this-machine", "measured", 131_072, 131_072, token_budget=256),
}
"""KV memory of OPT-13B: DistServe's `max_num_tokens.csv`. Apart on one card there are two copies of the weights."""

NVLINK, PCIE, GBIT_25 = "NVLink, 2,400 Gbit/s", "PCIe 4, 252 Gbit/s", "25 Gbit/s"
LINKS: dict[str, Link] = {
    NVLINK: load_link("nvlink-a100"),
    PCIE: load_link("pcie-4"),
    "200 Gbit/s": load_link("200gbit"),
    "100 Gbit/s": load_link("100gbit"),
    GBIT_25: load_link("25gbit"),
    "10 Gbit/s": Link(name="10gbit", bandwidth_bytes_s=1.25e9, latency_s=14e-6),
    "1 Gbit/s": Link(name="1gbit", bandwidth_bytes_s=0.125e9, latency_s=14e-6),
}
INSIDE_A_CARD = Link(name="inside", bandwidth_bytes_s=2039e9 / 2, latency_s=0.0)  # read once, written once

BY_PREFILL, BY_DECODE = "the prefill worker", "the decode worker"
TOGETHER, APART = "together", "apart"
NUM_REQUESTS = 24
BLOCK = 16
SEED = 0

CONTROLS = (
    Choice("machine", "machine", tuple(MACHINES), OPT, help="What the two workers run on"),
    Choice("link", "link between the workers", tuple(LINKS), GBIT_25, help="Each way; one card needs none"),
    LogSlider("prompt_tokens", "prompt (tokens, median)", 64, 1024, 512, help="Half of the prompts are longer"),
    Slider("rate", "requests per second", 1, 12, 1, 4, help="How many new requests arrive each second"),
    Toggle("layerwise", "send layer by layer", False, help="While the next layer is computed"),
    Choice("first_by", "first token comes from", (BY_PREFILL, BY_DECODE), BY_PREFILL, help="Who streams it"),
)


class Settings(NamedTuple):
    """Where the controls stand."""

    machine: str = OPT
    link: str = GBIT_25
    prompt_tokens: int = 512
    rate: float = 4
    layerwise: bool = False
    first_by: str = BY_PREFILL


@lru_cache(maxsize=64)
def workload(rate: float, prompt_tokens: int) -> Workload:
    """The same requests together and apart; answers of 64 tokens, half of them longer."""
    prompts = Lognormal(prompt_tokens, 0.4, low=16, high=1900)
    lengths = lognormal_lengths(NUM_REQUESTS, prompts, Lognormal(64, 0.4, low=8, high=128), SEED)
    return build_workload(rows_from(poisson_arrivals(NUM_REQUESTS, rate, SEED), *lengths))


@cache
def cost_of(machine: str) -> CostModel:
    """How long a step takes there."""
    it = MACHINES[machine]
    return make_cost(it.cost, load_shape(it.model), load_hardware(it.hardware))


@lru_cache(maxsize=64)
def together(machine: str, rate: float, prompt_tokens: int) -> Served:
    """Every device does both, prompts in chunks beside the answers."""
    it = MACHINES[machine]
    blocks = it.kv_tokens // BLOCK
    scheduler = partial(ChunkedPrefill, token_budget=it.token_budget)
    watched = WatchedCluster([Instance(scheduler(), blocks, id=i) for i in range(it.num_devices)], LeastRequests())
    records = VirtualDriver(watched, cost_of(machine)).run(workload(rate, prompt_tokens)).records
    return Served(records, watched.history, *tolls(records, watched.history))


def prefill_s(machine: str, num_tokens: int) -> float:
    """How long a prompt takes there that has the device to itself."""
    return CostEstimator(cost_of(machine)).step_s(Instance(PrefillOnly(), 1), num_tokens, 0, 0)


def gaps_ms(run: Served) -> np.ndarray:
    """All gaps between two tokens of all answers, in ms."""
    return 1e3 * np.array([gap_s for record in run.records for gap_s in gaps_s(record)])


def ttfts_ms(run: Served) -> np.ndarray:
    """TTFT of each request, in ms."""
    return 1e3 * np.array([record.token_times_s[0] - record.arrival_s for record in run.records])


def link_of(settings: Settings, transfer_s: TransferS, exposed_s: ExposedS) -> OneLink:
    """What moves keys and values, as fast as the two functions say."""
    it = MACHINES[settings.machine]
    shape = load_shape(it.model)
    link = LINKS[settings.link] if it.num_devices > 1 else INSIDE_A_CARD
    gbit_s, layers = 8 * link.bandwidth_bytes_s / 1e9, shape.num_layers

    def move_s(num_tokens: int, prefill_s: float) -> float:
        size = (num_tokens, layers, shape.num_kv_heads, shape.head_dim)
        sending_s = transfer_s(*size, gbit_s, 0.0, BLOCK, shape.bytes_per_value)
        overlaps = settings.layerwise and prefill_s > 0
        return exposed_s(sending_s, prefill_s, layers, link.latency_s) if overlaps else sending_s + link.latency_s

    return OneLink(move_s, link.latency_s, layerwise=settings.layerwise)


def split_cluster(machine: str) -> WatchedCluster:
    """A worker for prompts and one for answers."""
    blocks = MACHINES[machine].kv_tokens_apart // BLOCK
    prefill = Instance(PrefillOnly(), blocks, id=0, role="prefill")
    decode = Instance(DecodeOnly(), blocks, id=1, role="decode")
    return WatchedCluster([prefill, decode], LeastRequests())


@lru_cache(maxsize=64)
def apart(
    settings: Settings, transfer_s: TransferS = exercises.transfer_s, exposed_s: ExposedS = exercises.exposed_s
) -> Served:
    """One worker computes prompts, the other writes answers."""
    it = MACHINES[settings.machine]
    watched = split_cluster(settings.machine)
    link = link_of(settings, transfer_s, exposed_s)
    options: dict[str, Any] = {"network": link, "kv_bytes_per_token": 1}  # it counts in tokens
    clock = VirtualDriver if it.num_devices > 1 else SharedCardDriver
    driver = clock(watched, cost_of(settings.machine), **options)
    records = driver.run(workload(settings.rate, settings.prompt_tokens)).records
    if settings.first_by == BY_DECODE:
        records = [first_token_with_its_keys(record, watched.history) for record in records]
    return Served(records, watched.history, *tolls(records, watched.history, link.waits_s))


def first_token_with_its_keys(record: RequestRecord, history: History) -> RequestRecord:
    """The same answer, if the first token is streamed by the decode worker: when its keys and values are there."""
    arrived_s = next((move.end_s for move in history.moves if move.request_id == record.request_id), None)
    times_s = list(record.token_times_s)
    if arrived_s is not None:
        times_s[0] = arrived_s
    copy = RequestRecord(record.arrival_s, record.num_prompt_tokens, times_s, request_id=record.request_id)
    copy.outcome, copy.end_s = record.outcome, record.end_s
    return copy


def tolls(
    records: list[RequestRecord], history: History, link_waits_s: Sequence[float] = ()
) -> tuple[list[Toll], list[Toll]]:
    """What the first and the second token of each request were waited for; a move that waits for the link waits."""
    began: dict[int, float] = {}
    computed: dict[int, float] = {}
    decoding: dict[int, float] = {}
    for step in history.steps:
        for chunk in step.chunks:
            if chunk.is_prefill:
                began[chunk.request_id] = min(step.start_s, began.get(chunk.request_id, step.start_s))
                computed[chunk.request_id] = max(step.end_s, computed.get(chunk.request_id, 0.0))
            else:
                decoding[chunk.request_id] = min(step.start_s, decoding.get(chunk.request_id, step.start_s))
    moves = {m.request_id: (m, wait_s) for m, wait_s in zip(history.moves, link_waits_s, strict=True)}
    first, second = [], []
    for record in records:
        number, times_s = record.request_id, record.token_times_s
        prefill = Toll(began[number] - record.arrival_s, computed[number] - began[number])
        on_the_way, ready_s = Toll(), computed[number]
        if number in moves:
            move, wait_s = moves[number]
            begin_s, ready_s = move.start_s + wait_s, move.end_s
            on_the_way = Toll(begin_s - computed[number], transfer=ready_s - begin_s)
        decode = Toll()
        if len(times_s) > 1:
            decode = Toll(decoding[number] - ready_s, decode=times_s[1] - decoding[number])
        with_keys = times_s[0] > computed[number]
        first.append(_sum(prefill, on_the_way) if with_keys else prefill)
        second.append(decode if with_keys else _sum(on_the_way, decode))
    return first, second


def _sum(one: Toll, other: Toll) -> Toll:
    return Toll(*(a + b for a, b in zip(one, other, strict=True)))


def runs(
    settings: Settings, transfer_s: TransferS = exercises.transfer_s, exposed_s: ExposedS = exercises.exposed_s
) -> dict[str, Served]:
    """Together and apart."""
    return {
        TOGETHER: together(settings.machine, settings.rate, settings.prompt_tokens),
        APART: apart(settings, transfer_s, exposed_s),
    }


Both = Callable[[Settings], dict[str, Served]]


def figure(*, both: Both = runs, **settings: object) -> go.Figure:
    """TTFT and TPOT above, what the first tokens were waited for in the middle, who works when below."""
    return together_apart(both(Settings(**settings)))  # type: ignore[arg-type]


def summary(*, both: Both = runs, **settings: object) -> str:
    """The same in one line."""
    return together_apart_summary(both(Settings(**settings)))  # type: ignore[arg-type]


def explorer(transfer_s: TransferS = exercises.transfer_s, exposed_s: ExposedS = exercises.exposed_s) -> Explorer:
    """With sliders; moves take as long as the learner's functions say."""
    both = partial(runs, transfer_s=transfer_s, exposed_s=exposed_s)
    return Explorer(partial(figure, both=both), CONTROLS, partial(summary, both=both))
