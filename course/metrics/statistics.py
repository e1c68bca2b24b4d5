"""The samples of a whole run, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from course.errors import UserError
from course.metrics.answers import Answers
from course.metrics.pooled import Pooled, TokenPool
from course.metrics.record import RequestRecord
from course.metrics.steps import FloatArray


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
    def of(cls, values: Sequence[float] | FloatArray | Pooled, percents: Iterable[float] = (90, 99)) -> Statistics:
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

    ttft: FloatArray
    tpot: FloatArray
    itl: Pooled
    e2el: FloatArray

    @classmethod
    def of(
        cls, records: Sequence[RequestRecord], answers: Answers | None = None, tokens: TokenPool | None = None
    ) -> Samples:
        """Collect the samples; failed, refused and cancelled requests have no part in them.

        ``answers`` are those of the records and ``tokens`` those of the finished ones, where they have been looked
        up already.
        """
        answers = answers or Answers.of(records)
        finished = answers.is_finished
        return cls(
            ttft=answers.ttft_s[finished],
            tpot=answers.tpot_s[finished & (answers.num_tokens > 1)],
            itl=(tokens or TokenPool(record for record in records if record.finished)).gaps(),
            e2el=answers.e2e_s[finished],
        )


def run_duration_s(records: Sequence[RequestRecord], answers: Answers | None = None) -> float:
    """Seconds from the first arrival to the last token or end, the drain of the tail included.

    0 when there are no records.
    """
    if not records:
        return 0.0
    answers = answers or Answers.of(records)
    ends_s = [record.end_s or 0.0 for record in records]
    last_s = max(float(answers.arrival_s.max()), max(ends_s), float(np.nan_to_num(answers.last_s).max()))
    return last_s - float(answers.arrival_s.min())
