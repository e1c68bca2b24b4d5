"""The samples of a whole run, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from course.errors import UserError
from course.metrics.latency import e2e_s, tpot_s, ttft_s
from course.metrics.pooled import Pooled, pooled_gaps
from course.metrics.record import RequestRecord


def percentile(values: ArrayLike, percent: float) -> float:
    """Return the percentile by linear interpolation between order statistics (numpy's default).

    Args:
        values: any order; the result has their unit. NaN when there are none.
        percent: 0 to 100.

    Raises:
        UserError: when ``percent`` is outside 0 to 100.
    """
    if not 0 <= percent <= 100:
        raise UserError(f"a percentile lies between 0 and 100, got {percent}")
    array = np.asarray(values, dtype=float)
    return float(np.percentile(array, percent)) if array.size else math.nan


class Statistics(NamedTuple):
    """Mean, median, standard deviation (of the population) and percentiles; NaN without samples."""

    mean: float
    median: float
    std: float
    percentiles: dict[float, float]

    @classmethod
    def of(cls, values: Sequence[float] | Pooled, percents: Iterable[float] = (90, 99)) -> Statistics:
        """Describe the values; the result has their unit."""
        percents = list(percents)
        if isinstance(values, Pooled):
            median, *others = values.percentiles([50, *percents])
            return cls(values.mean, median, values.std, dict(zip(percents, others, strict=True)))
        array = np.asarray(values, dtype=float)
        mean, std = (float(array.mean()), float(array.std())) if array.size else (math.nan, math.nan)
        return cls(mean, percentile(array, 50), std, {p: percentile(array, p) for p in percents})


@dataclass(frozen=True, slots=True)
class Samples:
    """All samples of a run, in seconds, from the answers that finished.

    ``ttft`` and ``e2el`` have one entry per answer. ``tpot`` has one per answer of two or more
    tokens: answers weigh alike. ``itl`` pools the gaps of all answers: long ones weigh more.
    """

    ttft: list[float]
    tpot: list[float]
    itl: Pooled
    e2el: list[float]

    @classmethod
    def of(cls, records: Iterable[RequestRecord]) -> Samples:
        """Collect the samples; failed, refused and cancelled requests have no part in them."""
        finished = [record for record in records if record.finished and len(record.token_times_s)]
        samples = cls([], [], pooled_gaps(finished), [])
        for record in finished:
            first_s, last_s, per_token_s = ttft_s(record), e2e_s(record), tpot_s(record)
            assert first_s is not None
            assert last_s is not None
            samples.ttft.append(first_s)
            samples.e2el.append(last_s)
            if per_token_s is not None:
                samples.tpot.append(per_token_s)
        return samples


def run_duration_s(records: Sequence[RequestRecord]) -> float:
    """Seconds from the first arrival to the last token or end, the drain of the tail included.

    0 when there are no records.
    """
    if not records:
        return 0.0
    last_s = max(max(r.arrival_s, r.end_s or 0.0, *r.token_times_s[-1:]) for r in records)
    return last_s - min(record.arrival_s for record in records)
