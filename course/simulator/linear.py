"""The simplest cost model of a step: a constant, plus so much per token."""

from __future__ import annotations

from dataclasses import dataclass

from course.serving.batch import Batch


@dataclass(frozen=True)
class LinearCost:
    """Seconds = ``step_s`` + ``token_s`` * tokens computed + ``context_token_s`` * cached tokens read.

    The form of DistServe's fitted models (OSDI'24, appendix A) without their quadratic term. The defaults are of
    the order of the tiny model on one CPU core; they are not a measurement.
    """

    step_s: float = 2e-3
    token_s: float = 1e-4
    context_token_s: float = 2e-7

    def batch_s(self, batch: Batch) -> float:
        """How long one step takes."""
        context = batch.num_decode_context_tokens + sum(chunk.start for chunk in batch.prompts)
        return self.step_s + self.token_s * batch.num_tokens + self.context_token_s * context

    def batch_stage_s(self, batch: Batch) -> float:
        """It knows of no pipeline: whatever there is takes the whole step."""
        return self.batch_s(batch)

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """Each step reads one token more per sequence than the one before."""
        return self.batch_s(batch), self.context_token_s * batch.num_decodes
