"""What a router is."""

from __future__ import annotations

from collections.abc import Sequence as List
from typing import Protocol

from course.serving.instance import Instance
from course.serving.sequence import Sequence


class Router(Protocol):
    """Chooses one of the instances that could take a sequence. ``candidates`` is never empty."""

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """One of ``candidates``, which are in order of their ids."""
        ...
