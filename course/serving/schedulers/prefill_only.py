"""Prefill only: what an instance with role "prefill" runs (DistServe, OSDI'24)."""

from __future__ import annotations

from dataclasses import dataclass

from course.serving.parameters import check_positive
from course.serving.plan import Plan
from course.serving.schedulers.common import admit, run_decodes, settled
from course.serving.view import InstanceView


@dataclass(eq=False)
class PrefillOnly:
    """Whole prompts, first come first served, while together they have at most ``token_budget`` tokens.

    A prompt longer than that runs alone. DistServe's budget is L_m, the length from which one prompt saturates the
    device (about 512 tokens for OPT-13B on an A100): batching beyond it makes every prompt of the batch wait for
    the others and computes none of them sooner (sections 3.1 and 4.3).

    An answer that begins here is held until it is moved. Where nothing moves it (role "mixed"), it decodes while no
    prompt waits that fits.
    """

    token_budget: int = 512

    def __post_init__(self) -> None:
        check_positive(token_budget=self.token_budget)

    def schedule(self, view: InstanceView) -> Plan:
        """Prompts; decodes only if there are no prompts."""
        draft = view.draft()
        admit(view, draft, token_budget=self.token_budget)
        if not draft.plan.chunks:
            run_decodes(view, draft, "recompute")
        return settled(draft)
