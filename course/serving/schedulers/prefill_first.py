"""Prefill first: a waiting prompt goes before every decode step (vLLM's first scheduler, SOSP'23)."""

from __future__ import annotations

from dataclasses import dataclass

from course.serving.plan import UNTIL_CHANGE, Plan
from course.serving.schedulers.common import settled
from course.serving.schedulers.on_demand import OnDemand
from course.serving.schedulers.turns import Turns
from course.serving.view import InstanceView


@dataclass(eq=False, kw_only=True)
class PrefillFirst(OnDemand):
    """Batches of whole prompts while any can be admitted, else one decode step of all.

    Low TTFT; every arriving prompt stalls the answers that are being written. With ``max_context_tokens`` the known
    tokens of a decode step come to no more than that, and `Turns` says who runs.
    """

    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._turns = Turns(max_context_tokens=self.max_context_tokens)

    def schedule(self, view: InstanceView) -> Plan:
        """Prompts if any can be admitted, else decodes."""
        draft = view.draft()
        holds = UNTIL_CHANGE
        self._turns.update(view)
        self.admit(view, draft)
        if not draft.plan.chunks:
            holds = self._turns.run(view, draft, self.preempt)
        return settled(draft, holds)
