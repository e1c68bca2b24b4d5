"""Who waits, in order: the preempted first, then first come, first served, so that nobody is starved."""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile

from course.serving.sequence import Sequence, State


class WaitingQueue(OrderedDict[Sequence, None]):
    """Sequences that are not on the device. To be read like a dictionary of them, in order."""

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait. Its place is looked for from the end that is near."""
        if not self:
            self[sequence] = None
            return
        place = _place(sequence)
        if _place(next(reversed(self))) < place:
            self[sequence] = None
        elif sequence.state is State.PREEMPTED:
            before = list(takewhile(lambda other: _place(other) < place, self))
            self[sequence] = None
            for each in (sequence, *reversed(before)):
                self.move_to_end(each, last=False)
        else:
            behind = list(takewhile(lambda other: _place(other) > place, reversed(self)))
            self[sequence] = None
            for each in reversed(behind):
                self.move_to_end(each)


def _place(sequence: Sequence) -> tuple[bool, int, int]:
    """Sort key."""
    return sequence._state is not State.PREEMPTED, sequence._rank, sequence._sample
