"""Decode only: what an instance with role "decode" runs (DistServe, OSDI'24)."""

from __future__ import annotations

from dataclasses import dataclass

from course.serving.parameters import check_share
from course.serving.plan import Plan
from course.serving.schedulers.common import Preempt, admit, check_preempt, settled
from course.serving.schedulers.turns import Turns
from course.serving.view import InstanceView


@dataclass(eq=False, kw_only=True)
class DecodeOnly:
    """One token for every sequence that was moved here: as large a batch as memory holds (section 3.2).

    ``max_num_sequences`` and ``max_context_tokens`` limit a step, not what lives here; `Turns` says who runs. A
    sequence that loses its blocks to an earlier one is computed again here, whole, beside the decodes, as soon as it
    fits and leaves the share ``watermark`` of all blocks free.
    """

    max_num_sequences: int | None = None
    max_context_tokens: int | None = None
    preempt: Preempt = "recompute"
    watermark: float = 0.01

    def __post_init__(self) -> None:
        check_preempt(self.preempt)
        check_share(watermark=self.watermark)
        self._turns = Turns(self.max_num_sequences, self.max_context_tokens)

    def schedule(self, view: InstanceView) -> Plan:
        """Decodes, then what waits."""
        draft = view.draft()
        self._turns.update(view)
        holds = self._turns.run(view, draft, self.preempt)
        if view.waiting:
            admit(view, draft, max_num_sequences=self.max_num_sequences, watermark=self.watermark)
        return settled(draft, holds)
