"""When the steps of an instance ended, without a number per step: written down run by run, each by its formula."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]


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
            self._formulas.fromlist([offset, series.origin_s, series.first_s, series.growth_s])
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
