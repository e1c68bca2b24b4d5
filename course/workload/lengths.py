"""How long prompts and answers are, if no trace says so.

Every function returns ``Lengths``: two arrays of whole numbers of tokens, at least 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from course.errors import UserError
from course.workload.seeds import generator
from course.workload.traces.row import TraceRow

IntArray = NDArray[np.int64]


class Lengths(NamedTuple):
    """Prompt and output lengths in tokens; entry i of both belongs to one request."""

    prompt_tokens: IntArray
    output_tokens: IntArray


class Lognormal(NamedTuple):
    """A lognormal length: ``median`` tokens, ``sigma`` of its logarithm, clipped to low..high.

    The usual stand-in where real lengths are not at hand: many short requests, few long ones.
    """

    median: float
    sigma: float
    low: int = 1
    high: int = 1_000_000

    def draw(self, num: int, rng: np.random.Generator) -> IntArray:
        """Draw ``num`` lengths; raises UserError for parameters out of range."""
        if not (self.median > 0 and self.sigma >= 0 and math.isfinite(self.median * self.sigma)):
            raise UserError(f"a lognormal length needs median > 0 and sigma >= 0, got {self.median} and {self.sigma}")
        if not 1 <= self.low <= self.high:
            raise UserError(f"a length is clipped to 1 <= low <= high, got {self.low} and {self.high}")
        logs = math.log(self.median) + self.sigma * rng.standard_normal(num)
        clipped = np.clip(logs, math.log(self.low), math.log(self.high))
        return np.rint(np.exp(clipped)).astype(np.int64)


def fixed_lengths(num: int, prompt_tokens: int, output_tokens: int) -> Lengths:
    """Return ``num`` times the same lengths; raises UserError when one is below 1."""
    check_num(num)
    if prompt_tokens < 1 or output_tokens < 1:
        raise UserError(f"lengths must be at least 1 token, got {prompt_tokens} and {output_tokens}")
    return Lengths(np.full(num, prompt_tokens, np.int64), np.full(num, output_tokens, np.int64))


def lognormal_lengths(num: int, prompt: Lognormal, output: Lognormal, seed: int = 0) -> Lengths:
    """Draw prompts and outputs independently; raises UserError for parameters out of range."""
    check_num(num)
    return Lengths(
        prompt.draw(num, generator(seed, "prompt lengths")),
        output.draw(num, generator(seed, "output lengths")),
    )


def resampled_lengths(rows: Sequence[TraceRow], num: int, seed: int = 0) -> Lengths:
    """Draw rows of a trace with replacement: prompt and output stay together (a joint draw).

    Raises:
        UserError: when there are no rows to draw from.
    """
    check_num(num)
    if not rows:
        raise UserError("lengths cannot be drawn from a trace without rows; give one with requests")
    picks = generator(seed, "rows").integers(len(rows), size=num)
    prompts = np.array([row.num_prompt_tokens for row in rows], np.int64)
    outputs = np.array([row.num_output_tokens for row in rows], np.int64)
    return Lengths(prompts[picks], outputs[picks])


def check_num(num: int) -> None:
    """Raise UserError unless there is at least one request to draw lengths for."""
    if num < 1:
        raise UserError(f"lengths of {num} requests cannot be drawn; ask for at least 1")
