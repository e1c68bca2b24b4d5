"""What a router is, and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence as List
from typing import Any, Protocol

from course.errors import UserError
from course.serving.instance import Instance
from course.serving.sequence import Sequence


class Router(Protocol):
    """Chooses one of the instances that could take a sequence. ``candidates`` is never empty."""

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """One of ``candidates``, which are in order of their ids."""
        ...


def choose(router: Router | Any, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
    """What the router chooses. Raises UserError when that is none of ``candidates``, whatever it is."""
    chosen = router.choose(candidates, sequence, now_s)
    if chosen not in candidates:
        raise UserError(
            f"router {type(router).__name__} chose {chosen!r} for request {sequence.request.id}, "
            "which is none of its candidates"
        )
    return chosen
