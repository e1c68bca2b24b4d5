"""When every step of an instance ended, written down run by run and spelled out only where somebody asks.

A token of a sequence that decodes comes out at the end of a step, so its times are those of a stretch of steps: two
numbers, however long the answer is. A million answers of hundreds of tokens fit into memory that way.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import overload

import numpy as np
from numpy.typing import NDArray

from course.simulator.run import Run, end_s


class StepLog:
    """The ends of the steps of one instance, numbered from 1 as its decode clock counts them."""

    def __init__(self) -> None:
        self.num_steps = 0
        self._run: Run | None = None  # the run of the last stretch
        # stretches of steps: the first of each, and what `Run.time_s` makes of its run's steps
        self._firsts, self._run_steps = array("q"), array("q")
        self._origins_s, self._firsts_s, self._growths_s = array("d"), array("d"), array("d")
        self._spelled_out: NDArray[np.float64] | None = None

    def add(self, run: Run, run_step: int, count: int) -> None:
        """The next ``count`` steps are those of ``run`` from ``run_step`` on."""
        first = self.num_steps + 1
        if self._run is not run or run_step - self._run_steps[-1] != first - self._firsts[-1]:
            self._run = run
            self._firsts.append(first)
            self._run_steps.append(run_step)
            self._origins_s.append(run.origin_s)
            self._firsts_s.append(run.first_s)
            self._growths_s.append(run.growth_s)
        self.num_steps += count
        self._spelled_out = None

    def time_s(self, step: int) -> float:
        """When that step ended."""
        k = bisect_right(self._firsts, step) - 1
        return end_s(
            self._run_steps[k] + step - self._firsts[k], self._origins_s[k], self._firsts_s[k], self._growths_s[k]
        )

    def times_s(self, first: int, last: int) -> list[float]:
        """When steps ``first`` .. ``last`` ended."""
        if self._spelled_out is None:
            self._spelled_out = self._spell_out()
        times_s: list[float] = self._spelled_out[first - 1 : last].tolist()
        return times_s

    def _spell_out(self) -> NDArray[np.float64]:
        """Every step's end, by the formula of `end_s` in the same order of operations, hence to the same bit."""
        counts = np.diff(np.array([*self._firsts, self.num_steps + 1]))
        origin_s, first_s, growth_s, offset = (
            np.repeat(column, counts)
            for column in (
                np.array(self._origins_s),
                np.array(self._firsts_s),
                np.array(self._growths_s),
                np.array(self._run_steps) - np.array(self._firsts),
            )
        )
        step = np.arange(1, self.num_steps + 1) + offset
        return np.asarray(origin_s + step * first_s + (step * (step - 1) // 2) * growth_s)


class TokenTimes(Sequence[float]):
    """When each token of one answer came out: single times, and stretches of a log's steps."""

    __slots__ = ("_num_closed", "_open", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[float | tuple[StepLog, int, int]] = []
        self._num_closed = 0
        self._open: tuple[StepLog, int] | None = None

    def append(self, time_s: float) -> None:
        """One token."""
        self._pieces.append(time_s)
        self._num_closed += 1

    def follow(self, log: StepLog) -> None:
        """From now on a token at each step of the log, until `stop`."""
        self._open = log, log.num_steps

    def stop(self, num_tokens: int) -> None:
        """There have been ``num_tokens`` tokens in all by now: the log is followed no longer."""
        if self._open is not None:
            log, before = self._open
            self._open = None
            if (count := num_tokens - self._num_closed) > 0:
                self._pieces.append((log, before + 1, before + count))
                self._num_closed = num_tokens

    def _so_far(self) -> list[float | tuple[StepLog, int, int]]:
        if self._open is None or self._open[0].num_steps == self._open[1]:
            return self._pieces
        log, before = self._open
        return [*self._pieces, (log, before + 1, log.num_steps)]

    def __len__(self) -> int:
        return self._num_closed + (self._open[0].num_steps - self._open[1] if self._open else 0)

    def __iter__(self) -> Iterator[float]:
        return chain.from_iterable(
            (piece,) if isinstance(piece, float) else piece[0].times_s(*piece[1:]) for piece in self._so_far()
        )

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if index == 0 or index == -1:  # what TTFT, TPOT and E2E need, without spelling anything out
            piece = self._so_far()[index]
            return piece if isinstance(piece, float) else piece[0].time_s(piece[1] if index == 0 else piece[2])
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))
