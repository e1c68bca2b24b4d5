"""Length distributions of public data, as tables of quantiles that ship with the course.

A table says below how many tokens a given share of the requests lies. Between its points the
quantile runs straight in the logarithm of the tokens. Sources and licences stand beside the
figures in ``length_tables.json``; each was fitted on the first half of its trace.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course.errors import UserError
from course.workload.lengths import IntArray, Lengths, check_num
from course.workload.seeds import generator

_FILE = Path(__file__).with_name("length_tables.json")

# 19 points, dense at the ends: what matters is the longest few percent.
PROBABILITIES = (
    0, 0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999, 1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuantileTable:
    """``tokens[i]`` is the length that a share ``probabilities[i]`` (0 to 1) does not exceed.

    Raises:
        UserError: unless both rise, have the same length, and run from probability 0 to 1.
    """

    probabilities: tuple[float, ...]
    tokens: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.probabilities) != len(self.tokens) or len(self.tokens) < 2:
            raise UserError("a quantile table needs as many probabilities as lengths, at least 2")
        if self.probabilities[0] != 0 or self.probabilities[-1] != 1:
            raise UserError("a quantile table must run from probability 0 to probability 1")
        if min(np.diff(self.probabilities)) <= 0 or min(np.diff(self.tokens)) < 0 or self.tokens[0] < 1:
            raise UserError("a quantile table must rise, from a length of at least 1 token")

    @classmethod
    def of(cls, lengths: ArrayLike, probabilities: Sequence[float] = PROBABILITIES) -> QuantileTable:
        """Fit a table to lengths in tokens (numpy's linear quantiles, rounded).

        Raises:
            UserError: when there are no lengths.
        """
        values = np.asarray(lengths)
        if not values.size:
            raise UserError("a quantile table cannot be fitted to no lengths; give at least one")
        tokens = np.rint(np.quantile(values, probabilities))
        return cls(tuple(probabilities), tuple(tokens.tolist()))

    def quantile(self, probabilities: ArrayLike) -> IntArray:
        """Return the lengths (whole tokens, at least 1) at given probabilities (0 to 1)."""
        logs = np.interp(np.asarray(probabilities), self.probabilities, np.log(self.tokens))
        return np.maximum(1, np.rint(np.exp(logs))).astype(np.int64)


@dataclass(frozen=True, slots=True)
class LengthTable:
    """A data set's lengths: a table for prompts, and one for outputs in each fifth of the prompts.

    A prompt up to ``prompt_edges[0]`` tokens belongs to the first fifth, and so on. In Azure's
    conversation trace the median output by fifth is 93, 99, 403, 400, 64: prompt and output
    depend on each other without correlation, so drawing them independently would be wrong.
    ``output`` is the table of all outputs together.
    """

    name: str
    source: str
    licence: str
    prompt: QuantileTable
    output: QuantileTable
    prompt_edges: tuple[float, ...]
    output_by_prompt: tuple[QuantileTable, ...]

    def draw(self, num: int, seed: int = 0, *, joint: bool = True) -> Lengths:
        """Draw lengths of ``num`` requests.

        With ``joint=False`` outputs ignore the prompts: for seeing what that changes.

        Raises:
            UserError: when ``num`` is below 1.
        """
        check_num(num)
        prompts = self.prompt.quantile(generator(seed, "prompt lengths").random(num))
        shares = generator(seed, "output lengths").random(num)
        return Lengths(prompts, self._outputs(prompts, shares) if joint else self.output.quantile(shares))

    def _outputs(self, prompts: IntArray, shares: NDArray[np.float64]) -> IntArray:
        # side="left": a prompt that equals an edge belongs to the fifth below it.
        fifths = np.searchsorted(self.prompt_edges, prompts, side="left")
        outputs = np.empty_like(prompts)
        for fifth, table in enumerate(self.output_by_prompt):
            outputs[fifths == fifth] = table.quantile(shares[fifths == fifth])
        return outputs


def table_names() -> list[str]:
    """Names that ``load_table`` takes."""
    return list(_sets())


def load_table(name: str) -> LengthTable:
    """Return a shipped table by its name, such as "azure-conv"; raises UserError for others."""
    try:
        entry = _sets()[name]
    except KeyError:
        raise UserError(f"unknown length table {name!r}; choose from {', '.join(table_names())}") from None
    joint = entry["output_by_prompt"]
    return LengthTable(
        name=name,
        source=entry["source"],
        licence=entry["licence"],
        prompt=QuantileTable(PROBABILITIES, tuple(entry["prompt"])),
        output=QuantileTable(PROBABILITIES, tuple(entry["output"])),
        prompt_edges=tuple(joint["prompt_edges"]),
        output_by_prompt=tuple(
            QuantileTable(tuple(joint["probabilities"]), tuple(tokens)) for tokens in joint["tables"]
        ),
    )


@cache
def _sets() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))["sets"]
