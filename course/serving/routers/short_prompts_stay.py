"""Conditional disaggregation: only long prompts are worth the move."""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass

from course.serving.instance import Instance
from course.serving.parameters import check_not_negative
from course.serving.routers.least_pending_tokens import LeastPendingTokens
from course.serving.sequence import Sequence


@dataclass(eq=False)
class ShortPromptsStay:
    """Prompts of at most ``num_tokens`` are computed where they will decode, longer ones on role "prefill".

    A short prompt holds a decode step up for less than its own way over a link and through another queue would take
    (NVIDIA Dynamo calls this conditional disaggregation). The instances that decode must have role "mixed". Of several
    the one with the fewest pending tokens is chosen; where one of the two kinds is missing, the other takes all.
    """

    num_tokens: int = 32

    def __post_init__(self) -> None:
        check_not_negative(num_tokens=self.num_tokens)
        self._among = LeastPendingTokens()

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The least busy candidate of the right kind."""
        is_short = sequence.num_known_tokens <= self.num_tokens
        fitting = [i for i in candidates if (i.role != "prefill") == is_short]
        return self._among.choose(fitting or candidates, sequence, now_s)
