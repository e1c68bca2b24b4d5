"""Token times without a number per token: an instance's steps written down run by run, an answer as stretches of them.

A token of a simulated answer comes out at the end of a step of its instance. So the times of an answer are those of a
stretch of steps: two numbers, however long it is. They are spelled out, to the bit, only where somebody asks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Series(Protocol):
    """Steps in a row: step k, counted from 1, ends at origin + k * first + k (k - 1) / 2 * growth (seconds)."""

    @property
    def origin_s(self) -> float: ...  # noqa: D102
    @property
    def first_s(self) -> float: ...  # noqa: D102
    @property
    def growth_s(self) -> float: ...  # noqa: D102


def end_s(step: int, origin_s: float, first_s: float, growth_s: float) -> float:
    """When that step of a series ends. There is only one way to compute it, so that all agree to the bit."""
    return origin_s + step * first_s + (step * (step - 1) // 2) * growth_s


class StepLog:
    """The ends of the steps of one instance, numbered from 1."""

    def __init__(self) -> None:
        self.num_steps = 0
        self._series: Series | None = None  # of the last stretch
        self._offset = 0  # its steps: the number in the series less the number here
        # Stretches of steps: the number of the first step of each; offset, origin, first and growth of its series.
        self._firsts, self._formulas = array("q"), array("d")
        self._spelled_out: FloatArray | None = None

    def add(self, series: Series, series_step: int, count: int) -> None:
        """The next ``count`` steps are those of ``series`` from ``series_step`` on."""
        offset = series_step - self.num_steps - 1
        if self._series is not series or self._offset != offset:
            self._series, self._offset = series, offset
            self._firsts.append(self.num_steps + 1)
            self._formulas.extend((offset, series.origin_s, series.first_s, series.growth_s))
        self.num_steps += count
        self._spelled_out = None

    def time_s(self, step: int) -> float:
        """When that step ended."""
        k = 4 * (bisect_right(self._firsts, step) - 1)
        offset, origin_s, first_s, growth_s = self._formulas[k : k + 4]
        return end_s(step + int(offset), origin_s, first_s, growth_s)

    def times_s(self, first: int, last: int) -> list[float]:
        """When steps ``first`` to ``last`` ended."""
        times_s: list[float] = self.all_times_s()[first - 1 : last].tolist()
        return times_s

    def all_times_s(self) -> FloatArray:
        """When each step ended, [num_steps]."""
        if self._spelled_out is None:
            self._spelled_out = self._spell_out()
        return self._spelled_out

    def _spell_out(self) -> FloatArray:
        """`end_s` of every step, in the same order of operations."""
        counts = np.diff(np.array([*self._firsts, self.num_steps + 1]))
        offset, origin_s, first_s, growth_s = np.repeat(np.array(self._formulas).reshape(-1, 4).T, counts, axis=1)
        step = np.arange(1, self.num_steps + 1) + offset.astype(np.int64)
        return np.asarray(origin_s + step * first_s + (step * (step - 1) // 2) * growth_s)


class Stretch(NamedTuple):
    """Steps ``first`` to ``last`` of a log, one token each."""

    log: StepLog
    first: int
    last: int


class TokenTimes(Sequence[float]):
    """When each token of one answer came out: single times, and stretches of a log's steps. Reads like a list."""

    __slots__ = ("_num_closed", "_open", "_pieces")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self._pieces: list[float | Stretch] = []
        self._num_closed = 0
        self._open: tuple[StepLog, int] | None = None

    def append(self, time_s: float) -> None:
        """One token."""
        self._pieces.append(time_s)
        self._num_closed += 1

    def follow(self, log: StepLog) -> None:
        """From now on a token at each step of the log, until `stop`."""
        self._open = log, log.num_steps

    @property
    def is_open(self) -> bool:
        """Whether it follows a log."""
        return self._open is not None

    def stop(self, num_tokens: int) -> None:
        """There have been ``num_tokens`` tokens in all by now: the log is followed no longer."""
        if self._open is not None:
            log, before = self._open
            self._open = None
            if (count := num_tokens - self._num_closed) > 0:
                self._pieces.append(Stretch(log, before + 1, before + count))
                self._num_closed = num_tokens

    @property
    def pieces(self) -> list[float | Stretch]:
        """What there is so far, in order."""
        if self._open is None or self._open[0].num_steps == self._open[1]:
            return self._pieces
        log, before = self._open
        return [*self._pieces, Stretch(log, before + 1, log.num_steps)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(list(self), dtype or np.float64)

    def __len__(self) -> int:
        return self._num_closed + (self._open[0].num_steps - self._open[1] if self._open else 0)

    def __iter__(self) -> Iterator[float]:
        return chain.from_iterable(
            piece.log.times_s(piece.first, piece.last) if isinstance(piece, Stretch) else (piece,)
            for piece in self.pieces
        )

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if index == 0 or index == -1:  # what TTFT, TPOT and E2E need, without spelling anything out
            piece = self.pieces[index]
            return piece.log.time_s(piece.first if index == 0 else piece.last) if isinstance(piece, Stretch) else piece
        if isinstance(index, slice) and (index.start, index.stop, index.step) == (-1, None, None):
            return [self[-1]] if len(self) else []
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    def __repr__(self) -> str:
        return repr(list(self))
