"""Chunked prefill: prompts are cut to what a token budget leaves beside the decodes (Sarathi-Serve, OSDI'24)."""

from __future__ import annotations

from course.serving.plan import Plan
from course.serving.schedulers.common import (
    Preempt,
    admit,
    check_positive,
    check_preempt,
    check_watermark,
    run_decodes,
    run_or_make_room,
    settled,
)
from course.serving.sequence import Sequence
from course.serving.view import InstanceView


class ChunkedPrefill:
    """Stall-free batching (Algorithm 3): decodes, then prompts under way, then new prompts, up to ``token_budget``.

    Nobody new is admitted while memory or tokens do not suffice for all that run.
    A small budget keeps the gap between tokens short and makes prompts slower.
    """

    def __init__(
        self,
        token_budget: int = 256,
        max_num_sequences: int = 64,
        preempt: Preempt = "recompute",
        watermark: float = 0.01,
    ) -> None:
        check_positive(max_num_sequences=max_num_sequences, token_budget=token_budget)
        check_preempt(preempt)
        check_watermark(watermark)
        self.token_budget = token_budget
        self.max_num_sequences = max_num_sequences
        self.preempt: Preempt = preempt
        self.watermark = watermark

    def schedule(self, view: InstanceView) -> Plan:
        """Fill the budget: one token for every decode, the rest for prompts."""
        draft = view.draft()
        left = run_decodes(view, draft, self.preempt)

        def chunk(sequence: Sequence) -> int:
            """What is left of the budget, for prompts; a decode left without a block may yield its own to them."""
            if sequence in view.decoding:
                return 0
            return min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)

        left = run_or_make_room(draft, left, chunk, self.preempt)
        if not left:
            admit(
                view,
                draft,
                max_num_sequences=self.max_num_sequences,
                token_budget=self.token_budget,
                split=True,
                watermark=self.watermark,
            )
        return settled(draft)
