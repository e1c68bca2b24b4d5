"""Prefill in chunks of one size (TetriInfer, arXiv 2401.11181)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

from course.errors import UserError
from course.serving.parameters import check_positive
from course.serving.plan import Plan
from course.serving.schedulers.common import (
    admit,
    by_arrival,
    run_decodes,
    run_or_make_room,
    settled,
)
from course.serving.sequence import Sequence
from course.serving.view import InstanceView

Order = Literal["fcfs", "sjf", "ljf"]
_KEYS: dict[str, Callable[[Sequence], object]] = {
    "fcfs": by_arrival,
    "sjf": lambda sequence: (sequence.num_known_tokens, by_arrival(sequence)),
    "ljf": lambda sequence: (-sequence.num_known_tokens, by_arrival(sequence)),
}


@dataclass(eq=False, kw_only=True)
class FixedChunks:
    """Prompts are cut and joined to chunks of ``token_budget`` tokens, the size from which the device is saturated.

    ``num_sorted`` prompts at a time are put in ``order`` (first come, shortest or longest first) and all computed
    before the next are looked at: the shortest may go first and nobody is starved. The paper has 512 tokens for
    OPT-13B and 16 prompts.

    For role "prefill", where answers are held until they are moved. Elsewhere they decode while no prompt waits.
    """

    token_budget: int = 512
    order: Order = "fcfs"
    num_sorted: int = 16

    def __post_init__(self) -> None:
        check_positive(token_budget=self.token_budget, num_sorted=self.num_sorted)
        if self.order not in get_args(Order):
            raise UserError(f"order must be 'fcfs', 'sjf' or 'ljf', got {self.order!r}")
        self._sorted: list[Sequence] = []

    def schedule(self, view: InstanceView) -> Plan:
        """The next chunk; decodes only if there is none."""
        draft = view.draft()

        def chunk(sequence: Sequence) -> int:
            return min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)

        under_way = sorted(view.prefilling, key=by_arrival)
        if not run_or_make_room(draft, under_way, chunk, "recompute"):
            admit(view, draft, token_budget=self.token_budget, split=True, order=self._next(view))
        if not draft.plan.chunks:
            run_decodes(view, draft, "recompute")
        return settled(draft)

    def _next(self, view: InstanceView) -> Iterator[Sequence]:
        """Waiting sequences, sorted in groups."""
        taken: set[Sequence] = set()
        while True:
            for sequence in self._sorted:
                if sequence in view.waiting and sequence not in taken:
                    taken.add(sequence)
                    yield sequence
            others = (sequence for sequence in view.waiting if sequence not in taken)
            self._sorted = sorted(islice(others, self.num_sorted), key=_KEYS[self.order])  # type: ignore[arg-type]
            if not self._sorted:
                return
