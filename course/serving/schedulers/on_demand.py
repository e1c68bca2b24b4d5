"""What the policies have in common that preempt instead of setting memory aside: their parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from course.serving.draft import Draft
from course.serving.parameters import check_limits, check_positive, check_share
from course.serving.schedulers.common import Preempt, admit, check_preempt
from course.serving.sequence import Sequence
from course.serving.view import InstanceView


@dataclass(eq=False, kw_only=True)
class OnDemand:
    """Parameters of the policies that admit a prompt when it fits, let answers take blocks as they grow, and preempt.

    No more than ``max_num_sequences`` run (None: as many as memory holds); prompts of one step have at most
    ``token_budget`` tokens; who loses its place is computed again or swapped (``preempt``). ``watermark`` is the share
    of all blocks that an admission leaves free for those that run. It is rounded down, as in vLLM: the usual 1 % keeps
    nothing spare in a pool of fewer than 100 blocks.
    """

    max_num_sequences: int | None = 64
    token_budget: int = 2048
    preempt: Preempt = "recompute"
    watermark: float = 0.01

    def __post_init__(self) -> None:
        check_limits(max_num_sequences=self.max_num_sequences)
        check_positive(token_budget=self.token_budget)
        check_preempt(self.preempt)
        check_share(watermark=self.watermark)

    def admit(
        self, view: InstanceView, draft: Draft, split: bool = False, order: Iterable[Sequence] | None = None
    ) -> None:
        """`admit` with the policy's limits."""
        admit(
            view,
            draft,
            max_num_sequences=self.max_num_sequences,
            token_budget=self.token_budget,
            split=split,
            watermark=self.watermark,
            order=order,
        )
