"""The instance whose next step has the fewest newcomers."""

from __future__ import annotations

from collections.abc import Sequence as List

from course.serving.instance import Instance
from course.serving.sequence import Sequence


class LeastQueued:
    """Fewest sequences that live there, or are on their way, but have no part in the step that runs now.

    Ties go to the lowest id. DistServe's simulator chooses decode instances so: the answers of the running step are in
    no queue, so an instance that decodes many may look as empty as an idle one. Kept to reproduce its numbers.
    """

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The candidate with the fewest sequences outside its running step."""
        return min(candidates, key=_num_queued)  # the first of equals, and candidates are in order of their ids


def _num_queued(instance: Instance) -> int:
    num = len(instance.waiting) + len(instance.running) + len(instance.reserved)
    for batch in instance.in_flight:
        num -= len(batch.decodes) + len(batch.prompts)
    return num
