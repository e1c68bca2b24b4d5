"""The same requests with system prompts in common, on three servers: no cache, first come, longest prefix first.

Everything runs on the virtual clock, with OPT-13B on one A100 and DistServe's fitted step times.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.curriculum.lesson_06_prefix_cache import exercises
from course.figures.prefix_reuse import PrefixUse, prefix_reuse, prefix_reuse_summary
from course.metrics.latency import tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.metrics.statistics import percentile
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.pool import BlockPool
from course.serving.prefix_pool import prefix_pool_of
from course.serving.schedulers import LongestPrefixFirst, PrefillFirst
from course.simulator.costs.fitted import FittedCost
from course.simulator.virtual import VirtualDriver
from course.widgets import Explorer, LogSlider, Slider
from course.workload.build import build_workload
from course.workload.conversations import Conversations
from course.workload.lengths import Lognormal
from course.workload.request import Workload

NUM_REQUESTS = 40
BLOCK_TOKENS = 16
MOST_RUNNING = 32
WAYS = NO_CACHE, FIRST_COME, LONGEST_PREFIX = "no cache", "first come", "longest prefix"

CONTROLS = (
    LogSlider("memory", "KV memory (tokens)", 4_000, 64_000, 8_000, help="For what runs and what is cached"),
    Slider("system_tokens", "system prompt (tokens)", 0, 1_024, 128, 768, help="What prompts have in common"),
    LogSlider("num_systems", "different system prompts", 1, 32, 8, help="All equally popular"),
    LogSlider("rate", "requests per second", 1, 16, 8, help="How many new requests arrive each second"),
)


class Parts(NamedTuple):
    """What runs the servers with a cache: the learner's, if they pass, or the reference."""

    make_cache: Any = exercises.cache
    cached_prefix: Any = exercises.cached_prefix
    queue_order: Any = exercises.queue_order


REFERENCE = Parts()


@lru_cache(maxsize=32)
def workload(system_tokens: int, num_systems: int, rate: float) -> Workload:
    """Questions behind one of so many system prompts; answers of 64 tokens in the median."""
    chat = Conversations(
        opening_tokens=system_tokens,
        num_openings=num_systems,
        first=Lognormal(64, 0.6, low=8, high=512),
        answer=Lognormal(64, 0.6, low=8, high=256),
    )
    return build_workload(chat.rows(NUM_REQUESTS, rate, block_tokens=BLOCK_TOKENS), block_size=BLOCK_TOKENS)


class Served(NamedTuple):
    """One run: what users felt, and prompt tokens looked up and found."""

    records: tuple[RequestRecord, ...]
    num_queried_tokens: int
    num_hit_tokens: int

    @property
    def use(self) -> PrefixUse:
        """The same in the numbers that are drawn."""
        ttfts_s = [ttft_s(record) or 0.0 for record in self.records]
        tpots_s = [tpot_s(record) or 0.0 for record in self.records]
        computed = self.num_queried_tokens - self.num_hit_tokens
        return PrefixUse(self.num_hit_tokens, computed, percentile(ttfts_s, 50), max(ttfts_s), percentile(tpots_s, 50))


@lru_cache(maxsize=64)
def serve(
    way: str,
    memory: int,
    system_tokens: int,
    num_systems: int,
    rate: float,
    parts: Parts = REFERENCE,
    patience_s: float = math.inf,
) -> Served:
    """The requests on one of the three servers."""
    policy = PrefillFirst(max_num_sequences=MOST_RUNNING)
    if way == LONGEST_PREFIX:
        policy = LongestPrefixFirst.ordered_by(parts.queue_order, max_num_sequences=MOST_RUNNING, patience_s=patience_s)
    has_cache = way != NO_CACHE
    pool: Any = prefix_pool_of(parts.make_cache, parts.cached_prefix) if has_cache else BlockPool
    instance = Instance(policy, memory // BLOCK_TOKENS, BLOCK_TOKENS, prefix_cache=has_cache, make_pool=pool)
    driver = VirtualDriver(Cluster([instance]), FittedCost("distserve-a100", "opt-13b"))
    records = driver.run(workload(system_tokens, num_systems, rate)).records
    return Served(tuple(records), instance.memory.num_queried_tokens, instance.memory.num_hit_tokens)


def odd_one_out(order: Any, patience_s: float = math.inf, place: int = 20) -> tuple[float, float]:
    """Many ask behind one system prompt, faster than they can be served, and one who shares nothing came early.

    TTFT (s) of the odd one, and the median of the others. ``order`` as `queue_order`.
    """
    rows = Conversations(1_024, Lognormal(64, 0.6, low=8, high=256), Lognormal(64, 0.3)).rows(80, 16.0)
    rows[place] = replace(rows[place], prefix_hashes=())
    policy = LongestPrefixFirst.ordered_by(order, max_num_sequences=8, patience_s=patience_s)
    driver = VirtualDriver(
        Cluster([Instance(policy, 16_000 // BLOCK_TOKENS, BLOCK_TOKENS, prefix_cache=True)]),
        FittedCost("distserve-a100", "opt-13b"),
    )
    ttfts_s = [ttft_s(record) or 0.0 for record in driver.run(build_workload(rows)).records]
    return ttfts_s.pop(place), percentile(ttfts_s, 50)


def servers(
    memory: int, system_tokens: int, num_systems: int, rate: float, parts: Parts = REFERENCE
) -> dict[str, PrefixUse]:
    """All three; what has no cache asks nobody's code."""
    return {
        way: serve(way, memory, system_tokens, num_systems, rate, REFERENCE if way == NO_CACHE else parts).use
        for way in WAYS
    }


def figure(memory: int, system_tokens: int, num_systems: int, rate: float, *, parts: Parts = REFERENCE) -> go.Figure:
    """Prompt tokens computed and cached, TTFT and TPOT."""
    title = f"{NUM_REQUESTS} requests, {memory:,} tokens of KV memory"
    return prefix_reuse(servers(memory, system_tokens, num_systems, rate, parts), title)


def summary(memory: int, system_tokens: int, num_systems: int, rate: float, *, parts: Parts = REFERENCE) -> str:
    """The same in a few sentences."""
    return prefix_reuse_summary(servers(memory, system_tokens, num_systems, rate, parts))


def explorer(make_cache: Any, cached_prefix: Any, queue_order: Any) -> Explorer:
    """With sliders; the cache and the order of the queue may be the learner's own."""
    parts = Parts(make_cache, cached_prefix, queue_order)
    return Explorer(partial(figure, parts=parts), CONTROLS, partial(summary, parts=parts))
