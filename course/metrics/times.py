"""Token times without a number per token: an answer is kept as stretches of its instance's steps.

A token of a simulated answer comes out at the end of a step of its instance. So the times of an answer are those of a
stretch of steps: two numbers, however long it is. They are spelled out, to the bit, only where somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from course.metrics.steps import StepLog


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
