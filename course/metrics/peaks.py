"""The two peak figures of ``vllm bench serve``, counted in whole seconds from the first start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from course.metrics.answers import Answers
from course.metrics.pooled import TokenPool
from course.metrics.record import RequestRecord


def max_output_tokens_per_s(finished: Sequence[RequestRecord], tokens: TokenPool | None = None) -> float:
    """Most tokens that came out within one second of the run; 0 without records.

    ``tokens`` are those of ``finished``, where they have been looked up already.
    """
    if not finished:
        return 0.0
    start_s = min(record.arrival_s for record in finished)
    times = (tokens or TokenPool(finished)).times()
    _, counts = _sums(_seconds(times.values - start_s), times.counts)
    return float(counts.max(initial=0))


def max_concurrent_requests(finished: Sequence[RequestRecord], answers: Answers | None = None) -> int:
    """Most requests that touched the same second of the run; 0 without records.

    vLLM's definition: a request counts for every second it was open in, if only for a moment,
    so this is more than the number that was ever open at once. ``answers`` are those of ``finished``.
    """
    answers = answers or Answers.of(finished)
    if not len(answers.arrival_s):
        return 0
    begins_s = answers.arrival_s - answers.arrival_s.min()
    begins, ends = _seconds(begins_s), _seconds(begins_s + np.nan_to_num(answers.e2e_s)) + 1
    changes = np.repeat([1, -1], len(begins))
    _, change = _sums(np.concatenate([begins, ends]), changes)
    return int(np.cumsum(change).max(initial=0))


def _seconds(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    return times_s.astype(np.int64)


def _sums(keys: NDArray[np.int64], values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each key once, in order, with the sum of its values."""
    unique, places = np.unique(keys, return_inverse=True)
    return unique, np.rint(np.bincount(places, values, len(unique))).astype(np.int64)
