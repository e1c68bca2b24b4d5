"""Chunked prefill: prompts are cut to what a token budget leaves beside the decodes (Sarathi-Serve, OSDI'24)."""

from __future__ import annotations

from dataclasses import dataclass

from course.serving.plan import Plan
from course.serving.schedulers.common import run_decodes, run_or_make_room, settled
from course.serving.schedulers.on_demand import OnDemand
from course.serving.sequence import Sequence
from course.serving.view import InstanceView


@dataclass(eq=False, kw_only=True)
class ChunkedPrefill(OnDemand):
    """Stall-free batching (Algorithm 3): decodes, then prompts under way, then new prompts, up to ``token_budget``.

    Nobody new is admitted while memory or tokens do not suffice for all that run. A small budget keeps the gap between
    tokens short and makes prompts slower.

    Decodes are never left out for prompts: while ``token_budget`` or more of them run, prompts stand still until
    answers end. The paper's budgets (512 or 2048 tokens, the most whose step keeps to the limit on the token gap;
    sections 4.3 and 5.1) leave that far away. So keep ``max_num_sequences`` well below ``token_budget``.
    """

    token_budget: int = 256

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
            self.admit(view, draft, split=True)
        return settled(draft)
