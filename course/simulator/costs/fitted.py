"""DistServe's fitted step times: two linear forms with constants measured on A100-80GB.

In milliseconds, for prompts of l_i tokens and B sequences that decode over C tokens in the cache (OSDI'24, appendix A;
simdistserve/estimators/time_estimator.py)::

    prefill = a + b * sum(l_i) + c * sum(l_i ** 2)
    decode  = a + b * (C + B) + c * B            other constants from B = 95 on

Each pipeline stage takes 1/pp of that, a prefill stage 1 ms * pp more, and the first stage 2 ms + 1e-4 ms per token
for Ray's dispatch. Fitted on OPT with 2024's engines; a chunk of a prompt counts what it adds to the sum of squares.
"""

from __future__ import annotations

from typing import Any

from course.errors import UserError
from course.serving.batch import Batch
from course.simulator.costs.distserve import published
from course.simulator.names import unknown_name

_DISPATCH_S = 2e-3
_DISPATCH_TOKEN_S = 1e-7
_STAGE_S = 1e-3  # times pp, for each stage of a prefill

FITTED = ("distserve-a100", "vllm-a100")


class FittedCost:
    """Step times of one model on one engine, ``tp`` accelerators per stage and ``pp`` stages.

    A batch with prompts and decodes has one constant, the larger of the two forms', and all other terms of both. No
    source has constants for it: this keeps a mixed step at least as long as either of its parts.
    """

    def __init__(self, engine: str, model: str, tp: int = 1, pp: int = 1) -> None:
        """Raises UserError for an engine, a model or a ``tp`` that was not fitted, naming those that were."""
        constants = _constants(engine, model, tp)
        if pp < 1:
            raise UserError(f"pp must be at least 1, got {pp}")
        self.engine, self.model, self.tp, self.pp = engine, model, tp, pp
        self._all_stages = _Forms(constants, 1.0, pp * pp * _STAGE_S)
        self._first_stage = _Forms(constants, 1.0 / pp, pp * _STAGE_S)

    def batch_s(self, batch: Batch) -> float:
        """One step, through all stages."""
        return self._all_stages.step_s(batch)

    def batch_stage_s(self, batch: Batch) -> float:
        """How long the first stage is busy."""
        return self._first_stage.step_s(batch)

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """Every step reads one token more per sequence."""
        num = len(batch.decodes)
        forms = self._all_stages
        constant, per_context, per_sequence = forms.small if num < forms.large_batch else forms.large
        first_s = constant + (per_context * batch.num_decode_context_tokens + per_sequence * num)
        return first_s, per_context * num


class _Forms:
    """Seconds of a step, dispatch included: ``share`` of what the forms say, and ``stage_s`` more with prompts."""

    def __init__(self, constants: dict[str, Any], share: float, stage_s: float) -> None:
        self.stage_s = stage_s
        self.large_batch: int = published()["large_batch"]
        a, b, c = (share * each / 1e3 for each in constants["prefill"])
        self.prefill = (a + _DISPATCH_S + stage_s, b + _DISPATCH_TOKEN_S, c)
        self.small = self._decode(constants["decode_small"], share)
        self.large = self._decode(constants["decode_large"], share)

    @staticmethod
    def _decode(milliseconds: list[float], share: float) -> tuple[float, float, float]:
        """Constant, per token in the cache, per sequence (whose new token is one of the context that b counts)."""
        a, b, c = (share * each / 1e3 for each in milliseconds)
        return a + _DISPATCH_S, b + _DISPATCH_TOKEN_S, b + c

    def step_s(self, batch: Batch) -> float:
        num = len(batch.decodes)
        constant, per_context, per_sequence = self.small if num < self.large_batch else self.large
        decodes_s = per_context * batch.num_decode_context_tokens + per_sequence * num
        if not batch.prompts:
            return constant + decodes_s if num else _DISPATCH_S  # without either it only moves blocks
        tokens = squares = 0
        for chunk in batch.prompts:
            new = chunk.num_tokens
            tokens += new
            squares += new * (new + 2 * chunk.start)  # (start + new)² - start²
        alone, per_token, per_square = self.prefill
        prompts_s = per_token * tokens + per_square * squares
        if not num:
            return alone + prompts_s
        return max(alone, constant + self.stage_s) + prompts_s + decodes_s


def fitted_rows(engine: str) -> dict[str, list[int]]:
    """The models that were fitted for an engine, and for each the values of ``tp``."""
    return {model: [int(tp) for tp in rows] for model, rows in published()["engines"][engine].items()}


def _constants(engine: str, model: str, tp: int) -> dict[str, Any]:
    engines = published()["engines"]
    if engine not in engines:
        raise UserError(unknown_name("fitted engine", engine, engines))
    rows = engines[engine]
    if model not in rows:
        raise UserError(
            f"cost {engine!r} was not fitted for {model}; it has {', '.join(rows)} (cost 'roofline' takes any model)"
        )
    if str(tp) not in rows[model]:
        raise UserError(
            f"cost {engine!r} was not fitted for {model} with tp={tp}; it has tp = {', '.join(rows[model])}"
        )
    return rows[model][str(tp)]
