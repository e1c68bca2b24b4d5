"""What a cluster wants done. A data plane carries actions out in the order given."""

from __future__ import annotations

from dataclasses import dataclass

from course.serving.batch import Batch
from course.serving.instance import Instance
from course.serving.memory import Reservation
from course.serving.sequence import Sequence


class Transfer:
    """Copy the keys and values of ``source_blocks`` into ``target_blocks``, pair by pair.

    The receiver has reserved its blocks before the copy starts, and the sender gives its own back only when the
    move is committed. ``attempt`` counts from 1; ``num_blocks_done`` is what the data plane reported so far. Block
    numbers are there to be read when the copy starts, and until its end is reported.
    """

    __slots__ = (
        "_first_block", "_reservation", "attempt", "id", "is_early", "is_void", "num_blocks", "num_blocks_done",
        "sequence", "source", "target",
    )  # fmt: skip

    def __init__(
        self,
        id: int,
        sequence: Sequence,
        source: Instance,
        target: Instance,
        reservation: Reservation,
        attempt: int = 1,
        first_block: int = 0,
    ) -> None:
        """All blocks of a reservation, or those from ``first_block`` on."""
        self.id = id
        self.sequence = sequence
        self.source = source
        self.target = target
        self.attempt = attempt
        self.num_blocks = len(reservation) - first_block
        self.num_blocks_done = 0
        self.is_early = False  # the last of the prompt is still being computed: layers follow as they are done
        self.is_void = False  # the sequence ended or its source is gone: only the reservation is left to give back
        self._reservation = reservation
        self._first_block = first_block

    @property
    def source_blocks(self) -> list[int]:
        """Where the blocks are."""
        return list(self.sequence.block_table[self._first_block : self._first_block + self.num_blocks])

    @property
    def target_blocks(self) -> list[int]:
        """Where they go."""
        return self._reservation.blocks[self._first_block : self._first_block + self.num_blocks]


@dataclass(slots=True)
class RunBatch:
    """Run a step, then report `Cluster.on_batch_done`."""

    batch: Batch


@dataclass(slots=True)
class StartTransfer:
    """Move KV blocks, then report `Cluster.on_transfer_done`, ``_refused`` or ``_failed``."""

    transfer: Transfer


@dataclass(slots=True)
class StopTransfer:
    """The copy is no longer wanted. Report its end all the same: until then its target blocks stay reserved."""

    transfer: Transfer


@dataclass(slots=True)
class CutShort:
    """Somebody came or went at an instance whose batch holds for several steps: end it with the step that runs now.

    Who reports every step has nothing to do.
    """

    instance_id: int


@dataclass(slots=True)
class SequenceForked:
    """``sibling`` shares the prompt of ``parent`` and goes its own way from its first token on."""

    parent: Sequence
    sibling: Sequence


@dataclass(slots=True)
class SequenceEnded:
    """The sequence's state is final; ``reason`` says why when it did not finish."""

    sequence: Sequence
    reason: str = ""


@dataclass(slots=True)
class WakeAt:
    """Report `Cluster.on_timer` at ``time_s``."""

    time_s: float


Action = RunBatch | CutShort | StartTransfer | StopTransfer | SequenceForked | SequenceEnded | WakeAt
