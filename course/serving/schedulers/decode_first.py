"""Decode first: answers that are being written are not disturbed by prompts."""

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


class DecodeFirst:
    """Prompts are admitted only while fewer than ``refill_below`` sequences run.

    The default of 1 waits until the device is empty, as FasterTransformer did (Sarathi-Serve calls it
    decode-prioritizing; OSDI'24, section 3.2): the steadiest TPOT, and a queue that pays for it in TTFT.
    """

    def __init__(
        self,
        max_num_sequences: int = 64,
        token_budget: int = 2048,
        refill_below: int = 1,
        preempt: Preempt = "recompute",
        watermark: float = 0.01,
    ) -> None:
        check_positive(max_num_sequences=max_num_sequences, token_budget=token_budget, refill_below=refill_below)
        check_preempt(preempt)
        check_watermark(watermark)
        self.max_num_sequences = max_num_sequences
        self.token_budget = token_budget
        self.refill_below = refill_below
        self.preempt: Preempt = preempt
        self.watermark = watermark

    def schedule(self, view: InstanceView) -> Plan:
        """One token for all that run; prompts when too few do."""
        draft = view.draft()
        run_decodes(view, draft, self.preempt)
        if len(view.running) < self.refill_below:
            admit(
                view,
                draft,
                max_num_sequences=self.max_num_sequences,
                token_budget=self.token_budget,
                watermark=self.watermark,
            )
        return settled(draft)
