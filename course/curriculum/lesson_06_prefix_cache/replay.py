"""A trace of prompts through a cache alone: no model, no clock, one request after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from course.serving.prefix_pool import CachedPrefix, PrefixCache, prefix_pool_of
from course.workload.traces.row import TraceRow


def hit_rate(
    rows: Iterable[TraceRow], num_blocks: int, make_cache: Callable[[], PrefixCache], cached_prefix: CachedPrefix
) -> float:
    """Share (0 to 1) of all named prompt blocks that the cache had when the prompt came.

    Each row holds its blocks while the next has not come. A prompt that is longer than the memory is left out.
    """
    pool = prefix_pool_of(make_cache, cached_prefix)(num_blocks, 1, True)
    num_hits = num_seen = 0
    for row in rows:
        hashes = row.prefix_hashes
        num_seen += len(hashes)
        if len(hashes) > num_blocks:
            continue
        table = pool.match(hashes)
        num_hits += len(table)
        pool.share(table)
        fresh = pool.allocate(len(hashes) - len(table))
        for block, name in zip(fresh, hashes[len(table) :], strict=True):
            pool.publish(block, name)
        pool.release(table + fresh)
    return num_hits / num_seen if num_seen else 0.0
