"""Each instance in turn."""

from __future__ import annotations

from collections.abc import Sequence as List

from course.serving.instance import Instance
from course.serving.sequence import Sequence


class RoundRobin:
    """The next instance by id, whatever its load."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The first candidate after the last one chosen."""
        chosen = next((instance for instance in candidates if instance.id > self._last), candidates[0])
        self._last = chosen.id
        return chosen
