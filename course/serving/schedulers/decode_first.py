"""Decode first: answers that are being written are not disturbed by prompts."""

from __future__ import annotations

from dataclasses import dataclass

from course.serving.parameters import check_positive
from course.serving.plan import Plan
from course.serving.schedulers.common import run_decodes, settled
from course.serving.schedulers.on_demand import OnDemand
from course.serving.view import InstanceView


@dataclass(eq=False, kw_only=True)
class DecodeFirst(OnDemand):
    """Prompts are admitted only while fewer than ``refill_below`` sequences run.

    The default of 1 waits until the device is empty, as FasterTransformer did (Sarathi-Serve calls it
    decode-prioritizing; OSDI'24, section 3.2): the steadiest TPOT, and a queue that pays for it in TTFT.
    """

    refill_below: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(refill_below=self.refill_below)

    def schedule(self, view: InstanceView) -> Plan:
        """One token for all that run; prompts when too few do."""
        draft = view.draft()
        run_decodes(view, draft, self.preempt)
        if len(view.running) < self.refill_below:
            self.admit(view, draft)
        return settled(draft)
