"""Numbers of all tokens of a run, pooled, without one entry per token where many shared a step.

A value that occurred often stands once, with a count. For a simulated run the work grows with the steps of the
instances and with the answers, not with the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from course.metrics.record import RequestRecord
from course.metrics.steps import FloatArray, StepLog
from course.metrics.times import Stretch, TokenTimes

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """``values[i]`` occurred ``counts[i]`` times, in no particular order. Its length is the number of occurrences."""

    values: FloatArray
    counts: IntArray

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """NaN if there are none."""
        return float(self.values @ self.counts / len(self)) if len(self) else math.nan

    @property
    def std(self) -> float:
        """Of the population; NaN if there are none."""
        return math.sqrt((self.values - self.mean) ** 2 @ self.counts / len(self)) if len(self) else math.nan

    def percentile(self, percent: float) -> float:
        """By linear interpolation between order statistics, as `course.metrics.statistics.percentile`."""
        return self.percentiles([percent])[0]

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Several, sorting once."""
        if not len(self):
            return [math.nan for _ in percents]
        order = np.argsort(self.values, kind="stable")
        last_ranks = np.cumsum(self.counts[order]) - 1
        found = []
        for percent in percents:
            rank = percent / 100 * (len(self) - 1)
            low, high = (
                float(self.values[order[np.searchsorted(last_ranks, place)]])
                for place in (math.floor(rank), math.ceil(rank))
            )
            found.append(low + (high - low) * (rank - math.floor(rank)))
        return found


class TokenPool:
    """The tokens of many answers: ranges of each log's steps, single times, and the gaps where two of these meet."""

    def __init__(self, records: Iterable[RequestRecord]) -> None:
        self.ranges: dict[StepLog, list[tuple[int, int]]] = {}
        self.times_s: list[float] = []
        self.gaps_s: list[float] = []
        self._first_s: dict[StepLog, tuple[list[int], list[float]]] = {}  # steps that follow a single time, and that
        for record in records:
            times_s = record.token_times_s
            if isinstance(times_s, TokenTimes):
                self._take(times_s.pieces)
            else:
                self.times_s += times_s
                self.gaps_s += [later - earlier for earlier, later in pairwise(times_s)]
        for log, (steps, before_s) in self._first_s.items():
            self.gaps_s += (log.all_times_s()[np.array(steps) - 1] - np.array(before_s)).tolist()

    def times(self) -> Pooled:
        """When tokens came out, all answers together (seconds on the clock of the run)."""
        parts = [(log.all_times_s(), _covered(log.num_steps, ranges)) for log, ranges in self.ranges.items()]
        return _joined([*parts, (np.array(self.times_s), np.ones(len(self.times_s), np.int64))])

    def gaps(self) -> Pooled:
        """The gaps between consecutive tokens of each answer, all answers together (ITL, seconds)."""
        # A range of n steps has n - 1 gaps of its own: gap i lies between steps i and i + 1.
        parts = [
            (np.diff(log.all_times_s()), _covered(log.num_steps - 1, ranges, shorter_by=1))
            for log, ranges in self.ranges.items()
        ]
        return _joined([*parts, (np.array(self.gaps_s), np.ones(len(self.gaps_s), np.int64))])

    def _take(self, pieces: list[float | Stretch]) -> None:
        last: float | Stretch | None = None
        for piece in pieces:
            if isinstance(piece, Stretch):
                self.ranges.setdefault(piece.log, []).append((piece.first - 1, piece.last))
                if isinstance(last, Stretch):
                    self.gaps_s.append(piece.log.time_s(piece.first) - last.log.time_s(last.last))
                elif last is not None:  # the usual case: the prompt's token, then decode steps
                    steps, before_s = self._first_s.setdefault(piece.log, ([], []))
                    steps.append(piece.first)
                    before_s.append(last)
            else:
                self.times_s.append(piece)
                if last is not None:
                    self.gaps_s.append(piece - (last.log.time_s(last.last) if isinstance(last, Stretch) else last))
            last = piece


def _covered(num: int, ranges: list[tuple[int, int]], shorter_by: int = 0) -> IntArray:
    """For each of ``num`` places, how many ranges it lies in, each that much shorter at its end."""
    if num < 1:
        return np.zeros(0, np.int64)
    bounds = np.array(ranges, np.int64)
    changes = np.bincount(bounds[:, 0], minlength=num + 1) - np.bincount(bounds[:, 1] - shorter_by, minlength=num + 1)
    return np.cumsum(changes[:num])


def _joined(parts: list[tuple[FloatArray, IntArray]]) -> Pooled:
    values = np.concatenate([values for values, _ in parts])
    counts = np.concatenate([counts for _, counts in parts])
    used = counts > 0
    return Pooled(values[used], counts[used])
