"""How long a step will take: what policies that look ahead are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from course.serving.instance import Instance


class Estimator(Protocol):
    """Predicts step times. The simulator's cost models are one (`course.simulator.estimate`)."""

    def step_s(self, instance: Instance, num_prompt_tokens: int, num_decodes: int, num_context_tokens: int) -> float:
        """Seconds of a step of ``instance``: so many tokens of prompts, and one for each decode.

        ``num_context_tokens`` are those that the decodes have in the cache, all together.
        """
        ...


@dataclass(frozen=True)
class LinearEstimator:
    """Constants per step, per prompt token, per decode and per token of context, as one fits them to measured steps."""

    per_step_s: float
    per_prompt_token_s: float
    per_decode_s: float = 0.0
    per_context_token_s: float = 0.0

    def step_s(self, instance: Instance, num_prompt_tokens: int, num_decodes: int, num_context_tokens: int) -> float:
        """The same on every instance."""
        tokens_s = self.per_prompt_token_s * num_prompt_tokens + self.per_context_token_s * num_context_tokens
        return self.per_step_s + tokens_s + self.per_decode_s * num_decodes
