"""The instance with the fewest prompts to compute."""

from __future__ import annotations

from collections.abc import Sequence as List

from course.serving.instance import Instance
from course.serving.sequence import Sequence


class LeastPrefills:
    """Fewest sequences waiting or in prefill, whatever decodes there; ties go to the lowest id.

    DistServe dispatches to the prefill instance with the shortest queue (OSDI'24, section 4.3). Its simulator uses the
    same rule for colocated instances, where it is blind to the load of the answers.
    """

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The candidate with the fewest sequences that wait or prefill."""
        return min(candidates, key=_num_prefills)  # the first of equals, and candidates are in order of their ids


def _num_prefills(instance: Instance) -> int:
    return len(instance.waiting) + len(instance.running) - len(instance.decoding)
