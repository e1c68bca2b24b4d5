"""Mixed batches, prompts first, of a machine in Splitwise's mixed pool (ISCA'24)."""

from __future__ import annotations

from dataclasses import dataclass

from course.serving.parameters import check_positive
from course.serving.plan import Plan
from course.serving.schedulers.common import by_arrival, run_decodes, settled
from course.serving.schedulers.on_demand import OnDemand
from course.serving.sequence import Sequence
from course.serving.view import InstanceView


@dataclass(eq=False, kw_only=True)
class Splitwise(OnDemand):
    """Whole prompts first, up to ``token_budget`` tokens, then the answers that find room in what is left of it.

    An answer that was left out ``max_pauses`` times in a row goes before the prompts, so that a stream of them starves
    nobody (section 4.2: prompts preempt tokens, with ageing and a cap on preemptions). A machine that has only prompts
    or only answers runs batches of one kind, so one policy serves in all three pools.
    """

    max_num_sequences: int | None = None
    max_pauses: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(max_pauses=self.max_pauses)
        self._pauses: dict[Sequence, int] = {}

    def schedule(self, view: InstanceView) -> Plan:
        """Aged answers, prompts, the other answers."""
        draft = view.draft()
        if not view.waiting:
            run_decodes(view, draft, self.preempt)
            self._pauses = {}
            return settled(draft)
        decoding = sorted(view.decoding, key=by_arrival)
        for sequence in decoding:
            if self._pauses.get(sequence, 0) >= self.max_pauses and draft.can_add(sequence, 1):
                draft.add(sequence, 1)
        aged = {chunk.sequence for chunk in draft.plan.chunks}
        self.admit(view, draft)
        if len(draft.plan.chunks) == len(aged):  # no prompt fits: all that run go on
            draft = view.draft()
            run_decodes(view, draft, self.preempt)
            self._pauses = {}
            return settled(draft)
        for sequence in decoding:
            if sequence in aged:
                continue
            if draft.num_tokens < self.token_budget and draft.can_add(sequence, 1):
                draft.add(sequence, 1)
        ran = {chunk.sequence for chunk in draft.plan.chunks}
        self._pauses = {s: self._pauses.get(s, 0) + 1 for s in decoding if s not in ran}
        return settled(draft)
