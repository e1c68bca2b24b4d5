"""Token times without a number per token: an instance's steps as series, an answer as the steps it took part in.

A simulated answer of 500 tokens is one range of steps of its instance, however many others shared them. Times come
from the formula of `course.simulator.run.Run.time_s`, to the bit, when somebody asks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class StepLog:
    """When the steps of one instance ended. Steps are numbered from 0.

    Steps come in runs: step k of a run, counted from 1, ends at origin + k * first + k (k - 1) / 2 * growth.
    """

    __slots__ = ("_bases", "_firsts_s", "_growths_s", "_origins_s", "num_steps")

    def __init__(self) -> None:
        self._bases = array("q")  # the number of the first step of each run
        self._origins_s = array("d")
        self._firsts_s = array("d")
        self._growths_s = array("d")
        self.num_steps = 0

    def begin(self, origin_s: float, first_s: float, growth_s: float) -> None:
        """A run starts: whatever `num_steps` counts from now on belongs to it."""
        self._bases.append(self.num_steps)
        self._origins_s.append(origin_s)
        self._firsts_s.append(first_s)
        self._growths_s.append(growth_s)

    def time_s(self, step: int) -> float:
        """When that step ended."""
        run = bisect_right(self._bases, step) - 1
        k = step - self._bases[run] + 1
        return self._origins_s[run] + k * self._firsts_s[run] + (k * (k - 1) // 2) * self._growths_s[run]

    def times_s(self, start: int = 0, stop: int | None = None) -> FloatArray:
        """When steps ``start`` to ``stop`` (exclusive; all by default) ended."""
        stop = self.num_steps if stop is None else stop
        low = max(0, bisect_right(self._bases, start) - 1)
        high = bisect_right(self._bases, stop - 1)
        bases = np.frombuffer(self._bases, np.int64)[low:high] if high > low else np.empty(0, np.int64)
        counts = np.diff(np.clip(np.append(bases, stop), start, stop))
        k = np.arange(start, stop) - np.repeat(bases, counts) + 1
        origins_s, firsts_s, growths_s = (
            np.repeat(np.frombuffer(column, np.float64)[low:high] if high > low else np.empty(0), counts)
            for column in (self._origins_s, self._firsts_s, self._growths_s)
        )
        return origins_s + k * firsts_s + (k * (k - 1) // 2) * growths_s

    @property
    def busy_s(self) -> float:
        """Seconds during which steps ran."""
        if not self._bases:
            return 0.0
        k = np.diff(np.append(np.array(self._bases), self.num_steps))
        return float(np.sum(k * np.array(self._firsts_s) + (k * (k - 1) // 2) * np.array(self._growths_s)))


class StepRange:
    """Steps ``start`` to ``stop`` (exclusive) of a log, one token each."""

    __slots__ = ("log", "start", "stop")

    def __init__(self, log: StepLog, start: int, stop: int) -> None:
        self.log = log
        self.start = start
        self.stop = stop


class TokenTimes(Sequence[float]):
    """Token times of one answer, in order: single times and ranges of steps. Reads like a list of seconds.

    Length, first and last are had at once; anything else is worked out when asked for.
    """

    __slots__ = ("_num", "pieces")

    def __init__(self) -> None:
        self.pieces: list[float | StepRange] = []
        self._num = 0

    def append(self, time_s: float) -> None:
        """One token."""
        self.pieces.append(time_s)
        self._num += 1

    def add_steps(self, log: StepLog, start: int, stop: int) -> None:
        """One token for each step from ``start`` to ``stop`` (exclusive) of that log."""
        if stop <= start:
            return
        self._num += stop - start
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, StepRange) and last.log is log and last.stop == start:
            last.stop = stop
        else:
            self.pieces.append(StepRange(log, start, stop))

    def as_array(self) -> FloatArray:
        """All times, float64."""
        parts = [
            piece.log.times_s(piece.start, piece.stop) if isinstance(piece, StepRange) else np.array([piece])
            for piece in self.pieces
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.as_array().astype(dtype or np.float64, copy=False)

    def __len__(self) -> int:
        return self._num

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if isinstance(index, slice):
            if index.start == -1 and index.stop is None and index.step is None:
                return [self[-1]] if self._num else []
            return self.as_array()[index].tolist()
        if index < 0:
            index += self._num
        if not 0 <= index < self._num:
            raise IndexError(f"no token {index}: there are {self._num}")
        if index == 0:
            piece = self.pieces[0]
            return piece.log.time_s(piece.start) if isinstance(piece, StepRange) else piece
        if index == self._num - 1:
            piece = self.pieces[-1]
            return piece.log.time_s(piece.stop - 1) if isinstance(piece, StepRange) else piece
        for piece in self.pieces:
            num = piece.stop - piece.start if isinstance(piece, StepRange) else 1
            if index < num:
                break
            index -= num
        return piece.log.time_s(piece.start + index) if isinstance(piece, StepRange) else piece

    def __iter__(self) -> Iterator[float]:
        return iter(self.as_array().tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and self.as_array().tolist() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.as_array().tolist())
