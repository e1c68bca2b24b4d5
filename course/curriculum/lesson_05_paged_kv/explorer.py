"""Four ways to give KV memory to the same requests: how many run, what is wasted, what users feel.

Everything runs on the virtual clock, with OPT-13B on one A100; see `course.simulator.reservation`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial

import plotly.graph_objects as go

from course.figures.latency import Latencies
from course.figures.memory_shares import MemoryShares, memory_shares, memory_shares_summary
from course.metrics.statistics import percentile
from course.serving.allocator import Allocator, pool_of
from course.serving.pool import BlockPool
from course.simulator.costs.fitted import FittedCost
from course.simulator.reservation import Room, serve
from course.simulator.shapes import load_shape
from course.widgets import Explorer, LogSlider, Slider
from course.workload.arrivals import poisson_arrivals
from course.workload.lengths import Lognormal, lognormal_lengths

NAMES = {"max": "Max", "pow2": "Pow2", "oracle": "Oracle", "paged": "paged"}
MODEL = "opt-13b"
CONTEXT = 2048
NUM_REQUESTS = 48
PROMPT = Lognormal(98, 1.0, low=4, high=1024)  # a stand-in for ShareGPT: see course/simulator/reproduce/orca.py
ANSWER_SIGMA = 0.8

MakeAllocator = Callable[[int], Allocator]

CONTROLS = (
    LogSlider("memory_gib", "KV memory (GiB)", 3, 48, 12, help="What the weights leave; 12 GiB on an A100 of 40 GB"),
    Slider("rate", "requests per second", 0.5, 4, 0.5, 2, help="How many new requests arrive each second"),
    LogSlider("answer_tokens", "answer (tokens, median)", 32, 256, 256, help="Half of the answers are longer"),
    LogSlider("block_size", "block (tokens)", 1, 256, 16, help="Tokens in a block of the paged memory"),
)


@cache
def num_slots(memory_gib: int) -> int:
    """Tokens whose keys and values fit."""
    return memory_gib * 2**30 // load_shape(MODEL).kv_bytes_per_token


@lru_cache(maxsize=64)
def shares_of(
    way: str, memory_gib: int, rate: float, answer_tokens: int, block_size: int, allocator: MakeAllocator | None = None
) -> MemoryShares:
    """One run; ``allocator`` makes the blocks' owner for paged memory, the course's own pool if None."""
    lengths = lognormal_lengths(NUM_REQUESTS, PROMPT, Lognormal(answer_tokens, ANSWER_SIGMA, low=4, high=1024))
    arrivals_s = poisson_arrivals(NUM_REQUESTS, rate).tolist()
    make_pool = BlockPool if allocator is None else pool_of(allocator)
    room = Room(num_slots(memory_gib), block_size, CONTEXT)
    served = serve(way, lengths, arrivals_s, room, FittedCost("vllm-a100", MODEL), make_pool)
    felt = Latencies.of(served.records)
    use = served.use
    return MemoryShares(
        use.states, use.reserved, use.internal, use.batch, percentile(felt.ttft_s, 50), percentile(felt.tpot_s, 50)
    )


def ways(
    memory_gib: int, rate: float, answer_tokens: int, block_size: int, allocator: MakeAllocator | None = None
) -> dict[str, MemoryShares]:
    """All four; only paged memory has blocks, and only it asks the allocator."""
    runs = {}
    for way, name in NAMES.items():
        blocks = (block_size, allocator) if way == "paged" else (16, None)
        runs[name] = shares_of(way, memory_gib, rate, answer_tokens, *blocks)
    return runs


def figure(
    memory_gib: int, rate: float, answer_tokens: int, block_size: int, *, allocator: MakeAllocator | None = None
) -> go.Figure:
    """What the memory is used for, and TTFT and TPOT."""
    runs = ways(memory_gib, rate, answer_tokens, block_size, allocator)
    return memory_shares(runs, f"The same requests, {memory_gib} GiB for their keys and values")


def summary(
    memory_gib: int, rate: float, answer_tokens: int, block_size: int, *, allocator: MakeAllocator | None = None
) -> str:
    """The same in a few sentences."""
    return memory_shares_summary(ways(memory_gib, rate, answer_tokens, block_size, allocator))


def explorer(allocator: MakeAllocator | None = None) -> Explorer:
    """With sliders; the blocks may be handed out by the learner's own allocator."""
    return Explorer(partial(figure, allocator=allocator), CONTROLS, partial(summary, allocator=allocator))
