"""Prefill first: a waiting prompt goes before every decode step (vLLM's first scheduler, SOSP'23)."""

from __future__ import annotations

from course.serving.plan import Plan
from course.serving.schedulers.common import (
    Preempt,
    admit,
    check_positive,
    check_preempt,
    check_watermark,
    run_decodes,
    settled,
)
from course.serving.view import InstanceView


class PrefillFirst:
    """Batches of whole prompts while any can be admitted, else one decode step of all.

    Low TTFT; every arriving prompt stalls the answers that are being written.
    """

    def __init__(
        self,
        max_num_sequences: int = 64,
        token_budget: int = 2048,
        preempt: Preempt = "recompute",
        watermark: float = 0.01,
    ) -> None:
        check_positive(max_num_sequences=max_num_sequences, token_budget=token_budget)
        check_preempt(preempt)
        check_watermark(watermark)
        self.max_num_sequences = max_num_sequences
        self.token_budget = token_budget
        self.preempt: Preempt = preempt
        self.watermark = watermark

    def schedule(self, view: InstanceView) -> Plan:
        """Prompts if any can be admitted, else decodes."""
        draft = view.draft()
        admit(
            view,
            draft,
            max_num_sequences=self.max_num_sequences,
            token_budget=self.token_budget,
            watermark=self.watermark,
        )
        if not draft.plan.chunks:
            run_decodes(view, draft, self.preempt)
        return settled(draft)
