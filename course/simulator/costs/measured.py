"""A cost model fitted to steps that our own engine ran and timed on this machine.

One linear form for all steps::

    constant_s + token_s * n + pair_s * p + key_s * k + chunk_s * m + decode_s * B + context_s * C

with n tokens of m prompt chunks, p pairs of a query and a key that it sees, k keys that the chunks read, B sequences
that decode and C tokens in their caches. The forms of DistServe (OSDI'24, appendix A) with one more term for reading
what earlier chunks have cached; coefficients are at least 0 and minimise the relative squared error over the profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from course.errors import UserError
from course.serving.batch import Batch
from course.simulator.costs.profile import Profile, ProfiledStep
from course.simulator.operators import num_pairs

KINDS = ("prompts", "decodes", "both")


@dataclass(frozen=True, slots=True)
class MeasuredCost:
    """The coefficients of the module's form. Valid for the model, the machine and the engine that were measured."""

    constant_s: float
    token_s: float
    pair_s: float
    key_s: float
    chunk_s: float
    decode_s: float
    context_s: float

    def batch_s(self, batch: Batch) -> float:
        """One step."""
        seconds = self.constant_s + self.decode_s * batch.num_decodes + self.context_s * batch.num_decode_context_tokens
        for chunk in batch.prompts:
            new, start = chunk.num_tokens, chunk.start
            pairs = new * start + new * (new + 1) // 2
            seconds += self.chunk_s + self.token_s * new + self.pair_s * pairs + self.key_s * (start + new)
        return seconds

    def batch_stage_s(self, batch: Batch) -> float:
        """There is one stage: the engine runs on one device."""
        return self.batch_s(batch)

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """Every step reads one token more per sequence."""
        return self.batch_s(batch), self.context_s * batch.num_decodes

    def step_s(self, step: ProfiledStep) -> float:
        """What the form says of a step of the profile."""
        return float(np.dot(_features(step), [getattr(self, field.name) for field in fields(self)]))


def fit(profile: Profile) -> MeasuredCost:
    """The cost model of a profile.

    Raises:
        UserError: for a profile of too few steps to tell the terms apart.
    """
    seconds = np.array([step.median_s for step in profile.steps])
    if len(seconds) < 2 * len(fields(MeasuredCost)) or not all(
        any(step.kind == kind for step in profile.steps) for kind in KINDS
    ):
        raise UserError("the profile has too few steps for a fit: it needs prompts, decodes and both, 14 in all")
    features = np.array([_features(step) for step in profile.steps])
    return MeasuredCost(*_non_negative_least_squares(features / seconds[:, None], np.ones(len(seconds))).tolist())


@dataclass(frozen=True, slots=True)
class Residuals:
    """How far a fit is from the steps of one kind: quantiles of |fitted / measured - 1|, and the median of the sign."""

    kind: str
    num_steps: int
    p50: float
    p90: float
    bias: float


def residuals(profile: Profile, cost: MeasuredCost) -> list[Residuals]:
    """One row for each kind of step, and one for all."""
    errors = {step: cost.step_s(step) / step.median_s - 1 for step in profile.steps}
    kinds = {kind: [error for step, error in errors.items() if step.kind == kind] for kind in KINDS}
    return [_residuals(kind, values) for kind, values in {**kinds, "all": list(errors.values())}.items() if values]


def _residuals(kind: str, errors: Sequence[float]) -> Residuals:
    p50, p90 = np.quantile(np.abs(errors), (0.5, 0.9)).tolist()
    return Residuals(kind, len(errors), p50, p90, float(np.median(errors)))


def _features(step: ProfiledStep) -> list[float]:
    """What the coefficients multiply, in the order of MeasuredCost's fields."""
    tokens = sum(n for _, n in step.prompts)
    pairs = sum(num_pairs(start, n) for start, n in step.prompts)
    keys = sum(start + n for start, n in step.prompts)
    return [1.0, tokens, pairs, keys, len(step.prompts), len(step.contexts), sum(step.contexts)]


def _non_negative_least_squares(rows: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares where terms that would come out negative are left out, the most negative first."""
    scale = np.linalg.norm(rows, axis=0)
    kept = np.flatnonzero(scale)
    solution = np.zeros(rows.shape[1])
    while kept.size:
        found = np.linalg.lstsq(rows[:, kept] / scale[kept], targets, rcond=None)[0]
        if found.min() >= 0:
            solution[kept] = found / scale[kept]
            break
        kept = np.delete(kept, found.argmin())
    return solution
