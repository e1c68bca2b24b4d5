"""How long a step will take: what policies that look ahead are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from course.serving.instance import Instance


class Estimator(Protocol):
    """Predicts step times. The simulator's cost models are one (`course.simulator.estimate`)."""

    def step_s(
        self,
        instance: Instance,
        num_prompt_tokens: int,
        num_decodes: int,
        num_context_tokens: int,
        prompt_start: int = 0,
    ) -> float:
        """Seconds of a step of ``instance``: so many tokens of a prompt, and one for each decode.

        ``num_context_tokens`` are those that the decodes have in the cache, all together; ``prompt_start`` are those
        that the prompt has there already.
        """
        ...


@dataclass(frozen=True)
class LinearEstimator:
    """Constants per step, per prompt token, per decode and per token of context, as one fits them to measured steps."""

    per_step_s: float
    per_prompt_token_s: float
    per_decode_s: float = 0.0
    per_context_token_s: float = 0.0

    def step_s(
        self,
        instance: Instance,
        num_prompt_tokens: int,
        num_decodes: int,
        num_context_tokens: int,
        prompt_start: int = 0,
    ) -> float:
        """The same on every instance."""
        context = num_context_tokens + (prompt_start if num_prompt_tokens else 0)
        tokens_s = self.per_prompt_token_s * num_prompt_tokens + self.per_context_token_s * context
        return self.per_step_s + tokens_s + self.per_decode_s * num_decodes
