"""What a cluster wants done. A data plane carries actions out in the order given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from course.serving.batch import Batch
from course.serving.instance import Instance
from course.serving.sequence import Sequence


@dataclass(slots=True, eq=False)
class Transfer:
    """Copy the keys and values of ``source_blocks`` into ``target_blocks``, pair by pair.

    The receiver has reserved its blocks before the copy starts, and the sender gives its own back only when the
    move is committed. ``attempt`` counts from 1; ``num_blocks_done`` is what the data plane reported so far.
    """

    id: int
    sequence: Sequence
    source: Instance
    target: Instance
    source_blocks: list[int]
    target_blocks: list[int]
    attempt: int = 1
    num_blocks_done: int = 0
    is_early: bool = False  # the last of the prompt is still being computed: layers follow as they are done
    is_void: bool = False  # the sequence ended or its source is gone: only the reservation is left to give back


class RunBatch(NamedTuple):
    """Run a step, then report `Cluster.on_batch_done`."""

    batch: Batch


class StartTransfer(NamedTuple):
    """Move KV blocks, then report `Cluster.on_transfer_done`, ``_refused`` or ``_failed``."""

    transfer: Transfer


class StopTransfer(NamedTuple):
    """The copy is no longer wanted. Report its end all the same: until then its target blocks stay reserved."""

    transfer: Transfer


class CutShort(NamedTuple):
    """Somebody came or went at an instance whose batch holds for several steps: end it with the step that runs now.

    Who reports every step has nothing to do.
    """

    instance_id: int


class SequenceForked(NamedTuple):
    """``sibling`` shares the prompt of ``parent`` and goes its own way from its first token on."""

    parent: Sequence
    sibling: Sequence


class SequenceEnded(NamedTuple):
    """The sequence's state is final; ``reason`` says why when it did not finish."""

    sequence: Sequence
    reason: str = ""


class WakeAt(NamedTuple):
    """Report `Cluster.on_timer` at ``time_s``."""

    time_s: float


Action = RunBatch | CutShort | StartTransfer | StopTransfer | SequenceForked | SequenceEnded | WakeAt
