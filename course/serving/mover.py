"""Moving answers between instances while they are being written."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as List
from typing import NamedTuple

from course.serving.instance import Instance
from course.serving.sequence import Sequence


class Move(NamedTuple):
    """Let a sequence that decodes go on at ``target``.

    ``live``: it decodes on while its finished blocks are copied, and stops for the last few only; otherwise it stops
    first. Nothing happens if ``target`` has no room now, or if the sequence moves already.
    """

    sequence: Sequence
    target: Instance
    live: bool = False


class Mover:
    """Decides who moves. A cluster whose router is a mover asks it; this one moves nobody.

    ``instances`` are always those that keep answers (roles "mixed" and "decode"), in order of their ids.
    ``interval_s`` is the time from one `rebalance` to the next; None is never.
    """

    interval_s: float | None = None

    def after_prefill(
        self, sequence: Sequence, home: Instance, instances: List[Instance], now_s: float
    ) -> Instance | None:
        """Where a sequence goes on whose answer has begun on ``home``; None or ``home`` is to stay.

        Not asked on instances with role "prefill", which keep no answers.
        """
        return None

    def rebalance(self, instances: List[Instance], now_s: float) -> Iterable[Move]:
        """Who moves now."""
        return ()
