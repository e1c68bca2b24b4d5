"""Orca: the batch is chosen anew before every iteration (Yu et al., OSDI'22)."""

from __future__ import annotations

from course.serving.parameters import check_positive
from course.serving.plan import Plan
from course.serving.schedulers.common import admit_with_reservation, run_all, settled
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
        """Everything that runs, and every prompt for which memory can be reserved."""
        draft = view.draft()
        run_all(view, draft)
        admit_with_reservation(view, draft, self.max_num_sequences)
        return settled(draft)
