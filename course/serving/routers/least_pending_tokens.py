"""The instance with the least prefill ahead."""

from __future__ import annotations

from collections.abc import Sequence as List

from course.serving.instance import Instance
from course.serving.routers.load import num_sequences
from course.serving.sequence import Sequence


class LeastPendingTokens:
    """Fewest prompt tokens still to compute; then fewest sequences, then the lowest id.

    Splitwise joins the shortest queue so (ISCA'24, section 4.1): prompts differ in length by orders of magnitude, so
    tokens say more about the wait than requests do. It does not see what decodes.
    """

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The candidate with the fewest pending tokens."""
        return min(candidates, key=lambda i: (i.num_pending_tokens, num_sequences(i), i.id))
