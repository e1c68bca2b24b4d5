"""The simulator's cost models as step-time predictions for policies that look ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from course.serving.batch import Batch, ScheduledChunk
from course.serving.instance import Instance
from course.simulator.run import CostModel


class CostEstimator:
    """A `course.serving.estimator.Estimator` that asks the cost model, one for all or one per instance id.

    It predicts what the virtual clock then charges, less what it cannot know: who else arrives.
    """

    def __init__(self, cost: CostModel | Mapping[int, CostModel]) -> None:
        self._cost = cost

    def step_s(
        self,
        instance: Instance,
        num_prompt_tokens: int,
        num_decodes: int,
        num_context_tokens: int,
        prompt_start: int = 0,
    ) -> float:
        """Seconds of such a step; its prompt tokens are those of one prompt."""
        nobody = cast(Any, None)  # cost models read numbers only
        prompts = [ScheduledChunk(nobody, prompt_start, num_prompt_tokens, [], ())] if num_prompt_tokens else []
        batch = Batch(instance.id, 0, prompts, (nobody,) * num_decodes, num_context_tokens)
        cost = self._cost[instance.id] if isinstance(self._cost, Mapping) else self._cost
        return cost.batch_s(batch)
