"""Decode steps with limits: whose turn it is when not all that decode fit into one step."""

from __future__ import annotations

from typing import Any

from course.serving.draft import Draft
from course.serving.parameters import check_limits
from course.serving.plan import UNTIL_CHANGE
from course.serving.schedulers.common import ANY, Preempt, by_arrival, run_decodes, run_or_make_room
from course.serving.sequence import Sequence
from course.serving.view import InstanceView


class Turns:
    """A queue of the sequences that decode: those at its head run, as many as the limits allow, and go to its end.

    ``max_num_sequences`` limits how many run in a step, ``max_context_tokens`` the sum of their known tokens; None is
    no limit. A sequence that is alone too long for a step runs alone. Who comes while a step runs stands before those
    that ran in it. (These are the rules of the decode workers of DistServe's simulator.)

    Call `update` whenever the scheduler is asked, and `run` when it wants a decode step.
    """

    def __init__(self, max_num_sequences: int | Any = None, max_context_tokens: int | Any = None) -> None:
        check_limits(max_num_sequences=max_num_sequences, max_context_tokens=max_context_tokens)
        self.has_limit = max_num_sequences is not None or max_context_tokens is not None
        self._most_sequences: int = ANY if max_num_sequences is None else max_num_sequences
        self._most_tokens: int = ANY if max_context_tokens is None else max_context_tokens
        self._place: dict[Sequence, int] = {}  # in the queue: lower is nearer to its head
        self._head = 0  # lower than any place
        self._end = 1  # higher than any place
        self._ran: list[Sequence] | None = []  # in the last step; None: all of them

    def update(self, view: InstanceView) -> None:
        """The step that was planned last is over: note who came meanwhile, and let those that ran stand behind them."""
        if not self.has_limit:
            return
        decoding, places = view.decoding, self._place
        come: list[Sequence] = []
        for sequence in reversed(decoding):
            if sequence in places:
                break
            come.append(sequence)
        if self._ran is None:  # all go to the end, in the order in which they stand: the same as newcomers to the head
            for sequence in come:
                places[sequence] = self._head
                self._head -= 1
        else:
            come.reverse()
            self._queue_up(come)
            self._queue_up([s for s in self._ran if s in decoding])
        self._ran = []
        if come and len(places) > 2 * len(decoding) + 16:
            self._place = {s: place for s, place in self._place.items() if s in decoding}

    def run(self, view: InstanceView, draft: Draft, preempt: Preempt) -> int:
        """One token for those whose turn it is, as far as blocks go; where they do not, the latest arrived yields.

        Returns for how many steps the choice stays the same if nobody comes or goes.
        """
        if not self.has_limit:
            run_decodes(view, draft, preempt)
            return UNTIL_CHANGE
        if (steps := self._steps_of_all(view)) and draft.can_decode_all():
            draft.decode_all()
            self._ran = None
            return steps
        turn = self._turn(view)
        if sum(draft.blocks_needed(sequence, 1) for sequence in turn) <= draft.num_free_blocks:
            for sequence in turn:
                draft.add(sequence, 1)
        else:
            self._run_by_arrival(view, draft, preempt)
            for victim, _ in draft.plan.preempt:
                self._place.pop(victim, None)
        self._ran = [chunk.sequence for chunk in draft.plan.chunks]
        return 1

    # inside

    def _queue_up(self, sequences: list[Sequence]) -> None:
        self._place.update(zip(sequences, range(self._end, self._end + len(sequences)), strict=True))
        self._end += len(sequences)

    def _steps_of_all(self, view: InstanceView) -> int:
        """For how many steps all can run; 0: not even for one. Each step makes each of them one token longer."""
        count = len(view.decoding)
        if not 0 < count <= self._most_sequences:
            return 0
        spare = self._most_tokens - view.num_decode_context_tokens - count
        return 0 if spare < 0 else min(1 + spare // count, UNTIL_CHANGE)

    def _turn(self, view: InstanceView) -> list[Sequence]:
        """Who runs next, from the head of the queue."""
        return self._within_limits(sorted(view.decoding, key=lambda s: self._place.get(s, self._end)))

    def _within_limits(self, order: list[Sequence]) -> list[Sequence]:
        """The first of ``order`` and as many of the next as the limits allow."""
        num_tokens = 0
        for index, sequence in enumerate(order):
            num_tokens += sequence.num_known_tokens
            if index and (index >= self._most_sequences or num_tokens > self._most_tokens):
                return order[:index]
        return order

    def _run_by_arrival(self, view: InstanceView, draft: Draft, preempt: Preempt) -> None:
        """Blocks are short: the earliest moves on, whosever turn it is, so that somebody ends."""
        order = sorted(view.running, key=by_arrival)
        may_run = set(self._within_limits([s for s in order if s in view.decoding]))
        run_or_make_room(draft, order, lambda sequence: int(sequence in may_run), preempt)
