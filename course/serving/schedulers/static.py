"""Static batching: a batch is formed, runs to its last token, and only then the next one is formed."""

from __future__ import annotations

from course.serving.parameters import check_positive
from course.serving.plan import Plan
from course.serving.schedulers.common import admit_with_reservation, run_all, settled
from course.serving.view import InstanceView


class Static:
    """Request-level batching, as before Orca: who finishes early leaves a hole, who comes late waits.

    Memory for the declared length of every answer is set aside when the batch is formed.
    """

    def __init__(self, max_num_sequences: int = 16) -> None:
        check_positive(max_num_sequences=max_num_sequences)
        self.max_num_sequences = max_num_sequences

    def schedule(self, view: InstanceView) -> Plan:
        """All running sequences move on together; an empty device takes the next batch."""
        draft = view.draft()
        if view.running:
            run_all(view, draft)
        else:
            admit_with_reservation(view, draft, self.max_num_sequences)
        return settled(draft)
