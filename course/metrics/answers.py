"""The first and the last token of many answers, as arrays: all that TTFT, TPOT and E2E need.

Of a simulated run they are looked up all at once, so statistics of a million answers take seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from course.metrics.record import RequestRecord
from course.metrics.steps import FloatArray, StepLog
from course.metrics.times import Stretch, TokenTimes


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """One entry per record, in their order. Times in seconds on the clock of the run; NaN where no token came out.

    ``is_finished`` says that an answer came to its proper end and has tokens.
    """

    arrival_s: FloatArray
    first_s: FloatArray
    last_s: FloatArray
    num_tokens: NDArray[np.int64]
    is_finished: NDArray[np.bool_]

    @classmethod
    def of(cls, records: Sequence[RequestRecord]) -> Answers:
        """Read them off the records."""
        num_tokens = np.array([len(record.token_times_s) for record in records], np.int64)
        finished = np.array([record.finished for record in records], np.bool_)
        return cls(
            arrival_s=np.array([record.arrival_s for record in records], float),
            first_s=_ends(records, 0),
            last_s=_ends(records, -1),
            num_tokens=num_tokens,
            is_finished=finished & (num_tokens > 0),
        )

    def those(self, chosen: NDArray[np.bool_]) -> Answers:
        """Some of them."""
        return Answers(*(getattr(self, name)[chosen] for name in Answers.__slots__))

    @property
    def ttft_s(self) -> FloatArray:
        """Arrival to first token; NaN where none came out."""
        return self.first_s - self.arrival_s

    @property
    def tpot_s(self) -> FloatArray:
        """(last - first) / (n - 1); NaN for fewer than two tokens."""
        gaps = np.where(self.num_tokens > 1, self.num_tokens - 1.0, math.nan)
        return (self.last_s - self.first_s) / gaps

    @property
    def e2e_s(self) -> FloatArray:
        """Arrival to last token; NaN where none came out."""
        return self.last_s - self.arrival_s


def _ends(records: Sequence[RequestRecord], index: int) -> FloatArray:
    """The first (0) or the last (-1) token of each; steps of a log are looked up together."""
    times_s = np.full(len(records), math.nan)
    steps: dict[StepLog, tuple[list[int], list[int]]] = {}
    for i, record in enumerate(records):
        tokens = record.token_times_s
        if not tokens:
            continue
        piece = tokens.pieces[index] if isinstance(tokens, TokenTimes) else tokens[index]
        if isinstance(piece, Stretch):
            places, numbers = steps.setdefault(piece.log, ([], []))
            places.append(i)
            numbers.append(piece.last if index else piece.first)
        else:
            times_s[i] = piece
    for log, (places, numbers) in steps.items():
        times_s[places] = log.all_times_s()[np.array(numbers) - 1]
    return times_s
