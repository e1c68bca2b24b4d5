"""Orca: the batch is chosen anew before every iteration (Yu et al., OSDI'22)."""

from __future__ import annotations

from course.serving.plan import Plan
from course.serving.schedulers.common import admit, check_positive
from course.serving.sequence import Sequence
from course.serving.view import InstanceView


class Orca:
    """Iteration-level scheduling with whole prompts: they run in the same batch as the decode steps.

    A request is admitted only if memory for its prompt and its whole declared answer can be set aside, so
    nothing is ever preempted. That waste is what paged memory on demand removes.
    """

    def __init__(self, max_num_sequences: int = 64) -> None:
        check_positive(max_num_sequences=max_num_sequences)
        self.max_num_sequences = max_num_sequences

    def schedule(self, view: InstanceView) -> Plan:
        """Everything that runs, and every prompt for which slots can be reserved."""
        draft = view.draft()

        def reservation(sequence: Sequence) -> int:
            return sequence.num_slots * view.blocks_for(sequence.num_tokens_at_most)

        set_aside = sum(map(reservation, view.running))
        for sequence in view.running:
            draft.add(sequence, draft.tokens_left(sequence))

        def room(sequence: Sequence) -> bool:
            nonlocal set_aside
            set_aside += reservation(sequence)
            return set_aside <= view.num_blocks or not (view.running or draft.plan.chunks)

        admit(view, draft, max_num_sequences=self.max_num_sequences, token_budget=10**9, room=room)
        return draft.plan
