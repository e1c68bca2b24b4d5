"""The two peak figures of ``vllm bench serve``, counted in whole seconds from the first start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from course.metrics.latency import e2e_s
from course.metrics.pooled import pooled_times
from course.metrics.record import RequestRecord


def max_output_tokens_per_s(finished: Sequence[RequestRecord]) -> float:
    """Most tokens that came out within one second of the run; 0 without records."""
    start_s = min((record.arrival_s for record in finished), default=0.0)
    times = pooled_times(finished)
    seconds = (times.values - start_s).astype(np.int64)
    return float(np.bincount(seconds, times.counts).max()) if len(times) else 0.0


def max_concurrent_requests(finished: Sequence[RequestRecord]) -> int:
    """Most requests that touched the same second of the run; 0 without records.

    vLLM's definition: a request counts for every second it was open in, if only for a moment,
    so this is more than the number that was ever open at once.
    """
    start_s = min((record.arrival_s for record in finished), default=0.0)
    changes: Counter[int] = Counter()
    for record in finished:
        begin_s = record.arrival_s - start_s
        changes[int(begin_s)] += 1
        changes[int(begin_s + (e2e_s(record) or 0.0)) + 1] -= 1
    num_open = num_most = 0
    for second in sorted(changes):
        num_open += changes[second]
        num_most = max(num_most, num_open)
    return num_most
