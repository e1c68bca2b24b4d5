"""Longest prefix first: of the prompts that wait, the one that finds the most of itself in the cache (SGLang)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from course.serving.draft import Draft
from course.serving.parameters import check_not_negative
from course.serving.plan import UNTIL_CHANGE, Plan
from course.serving.schedulers.common import settled
from course.serving.schedulers.prefill_first import PrefillFirst
from course.serving.sequence import Sequence, State
from course.serving.view import InstanceView

Order = Callable[[list[tuple[float, int]], float, float], list[int]]
"""((arrival_s, cached tokens) of each that waits, now_s, patience_s) → their places in the order to be admitted."""


def longest_prefix_first(waiting: list[tuple[float, int]], now_s: float, patience_s: float) -> list[int]:
    """Who has waited longer than ``patience_s``, by arrival; then the longest cached prefix, and of equals the first.

    ``waiting`` has (arrival_s, cached tokens) in order of arrival.
    """

    def key(place: int) -> tuple[bool, int, int]:
        arrival_s, cached = waiting[place]
        is_late = now_s - arrival_s > patience_s
        return not is_late, 0 if is_late else -cached, place

    return sorted(range(len(waiting)), key=key)


@dataclass(eq=False, kw_only=True)
class LongestPrefixFirst(PrefillFirst):
    """Prompts before answers, as `PrefillFirst`, and of the prompts the longest cached prefix first.

    SGLang's cache-aware scheduling (arXiv 2312.07104): prompts that begin alike run one after the other, while what
    they share is still in the cache. While such prompts keep coming, another one waits for ever; so whoever has waited
    longer than ``patience_s`` goes first (ours; infinity is the published policy). The preempted go before all.
    """

    patience_s: float = math.inf
    queue_order: Order = field(default_factory=lambda: longest_prefix_first, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(patience_s=self.patience_s)

    @classmethod
    def ordered_by(cls, queue_order: Order, **parameters: Any) -> LongestPrefixFirst:
        """The same with an order of somebody's own."""
        policy = cls(**parameters)
        policy.queue_order = queue_order
        return policy

    def schedule(self, view: InstanceView) -> Plan:
        """Prompts if any can be admitted, else decodes."""
        draft = view.draft()
        holds = UNTIL_CHANGE
        self._turns.update(view)
        has_places = self.max_num_sequences is None or len(view.running) < self.max_num_sequences
        may_admit = has_places and len(view.waiting) > 0
        if may_admit:
            self.admit(view, draft, order=self._ordered(view, draft))
        if not draft.plan.chunks:
            holds = self._turns.run(view, draft, self.preempt)
        # Whose turn it is may change with every step, so such a plan holds only where nobody can be admitted anyway.
        return settled(draft, 1 if may_admit else holds)

    def _ordered(self, view: InstanceView, draft: Draft) -> list[Sequence]:
        preempted = [s for s in view.waiting if s.state is State.PREEMPTED]
        fresh = [s for s in view.waiting if s.state is not State.PREEMPTED]
        facts = [(s.request.arrival_s, s.num_known_tokens - draft.tokens_left(s)) for s in fresh]
        return preempted + [fresh[place] for place in self.queue_order(facts, view.now_s, self.patience_s)]
