"""What a scheduler sees of its instance: everything it needs, nothing it could break."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, overload

from course.serving.draft import Draft
from course.serving.sequence import Sequence

if TYPE_CHECKING:
    from course.serving.instance import Instance


class Queue:
    """Sequences in order, to be read but not changed."""

    __slots__ = ("_sequences",)

    def __init__(self, sequences: dict[Sequence, None]) -> None:
        self._sequences = sequences

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences)

    def __reversed__(self) -> Iterator[Sequence]:
        return reversed(self._sequences)

    def __len__(self) -> int:
        return len(self._sequences)

    def __contains__(self, sequence: object) -> bool:
        return sequence in self._sequences

    @overload
    def __getitem__(self, index: int) -> Sequence: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sequence]: ...
    def __getitem__(self, index: int | slice) -> Sequence | list[Sequence]:
        if isinstance(index, slice):
            return list(self._sequences)[index]
        length = len(self._sequences)
        if not -length <= index < length:
            raise IndexError(f"no sequence at {index}: the queue has {length}")
        return next(islice(self._sequences, index % length, None))

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self._sequences))}]"


class InstanceView:
    """A read-only view of one idle instance at time ``now_s`` (seconds on the run's clock).

    ``waiting`` holds the sequences that are not on the device, preempted ones first, then in order of arrival;
    ``running`` those that are, and ``decoding`` those among them that have sampled a token and
    have only that left to compute. Where batches are in a pipeline, their sequences are not shown.
    """

    __slots__ = ("_decoding", "_draft", "_instance", "_running", "now_s", "waiting")

    def __init__(self, instance: Instance, now_s: float = 0.0) -> None:
        self._instance = instance
        self._draft: Draft | None = None
        self._running = Queue(instance.running)
        self._decoding = Queue(instance.decoding.members)
        self.now_s = now_s
        self.waiting = Queue(instance.waiting)

    def _open(self, now_s: float) -> None:
        """The scheduler is about to look: what it drafted last is over."""
        self.now_s = now_s
        self._draft = None

    @property
    def running(self) -> Queue:
        """Sequences that are on the device, in order of admission."""
        return self._running if not self._instance.busy else self._not_busy(self._running)

    @property
    def decoding(self) -> Queue:
        """Those of them that have sampled a token and have only that left to compute."""
        return self._decoding if not self._instance.busy else self._not_busy(self._decoding)

    def _not_busy(self, queue: Queue) -> Queue:
        busy = self._instance.busy
        return Queue({s: None for s in queue if s not in busy})

    @property
    def num_decode_context_tokens(self) -> int:
        """Tokens in the cache of all that decode, which one step of them reads."""
        if self._instance.busy:
            return sum(s.num_computed_tokens for s in self.decoding)
        return self._instance.decoding.num_context_tokens

    @property
    def prefilling(self) -> list[Sequence]:
        """Running sequences that have not computed all of their prompt yet (or, once preempted, of what they knew)."""
        if len(self.running) == len(self.decoding):
            return []
        return [s for s in self.running if s not in self.decoding]

    @property
    def block_size(self) -> int:
        """Tokens per block."""
        return self._instance.memory.pool.block_size

    @property
    def num_blocks(self) -> int:
        """Blocks of the instance, free or not."""
        return self._instance.memory.pool.num_blocks

    @property
    def num_free_blocks(self) -> int:
        """Blocks that can be had now, cached ones included."""
        return self._instance.memory.pool.num_free_blocks

    @property
    def num_free_host_blocks(self) -> int:
        """Blocks of host memory that sequences can be swapped out to."""
        return self._instance.memory.num_free_host_blocks

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold ``num_tokens`` tokens."""
        return self._instance.memory.pool.blocks_for(num_tokens)

    def tokens_left(self, sequence: Sequence) -> int:
        """Known tokens still to compute: 1 while decoding, more during prefill; a cached prefix is not counted."""
        return Draft(self._instance).tokens_left(sequence)

    def blocks_needed(self, sequence: Sequence, num_tokens: int) -> int:
        """Free blocks that computing ``num_tokens`` more tokens of the sequence would take now."""
        return Draft(self._instance).blocks_needed(sequence, num_tokens)

    def draft(self) -> Draft:
        """An empty plan that keeps count of what is left while it is filled."""
        self._draft = Draft(self._instance)
        return self._draft
