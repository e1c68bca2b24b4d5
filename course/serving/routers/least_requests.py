"""The instance with the fewest sequences."""

from __future__ import annotations

from collections.abc import Sequence as List

from course.serving.instance import Instance
from course.serving.routers.load import num_sequences
from course.serving.sequence import Sequence


class LeastRequests:
    """Fewest sequences waiting, running or on their way there; ties go to the lowest id."""

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The candidate with the fewest sequences."""
        return min(candidates, key=num_sequences)  # the first of equals, and candidates are in order of their ids
