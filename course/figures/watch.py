"""A record of what a cluster did: every step of every instance, and every move of keys and values.

It stands at the door of the control plane, where events come in and actions go out, so it sees the same on the
virtual clock and on the real one and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from course.serving.actions import Action, RunBatch, StartTransfer
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.routers import Router
from course.serving.sequence import Sequence


class ChunkRun(NamedTuple):
    """What a step computed of one sequence: ``num_tokens`` from position ``start`` on."""

    request_id: int
    sample: int
    start: int
    num_tokens: int
    is_prefill: bool


class Step(NamedTuple):
    """One step of an instance; times in seconds on the clock of the run.

    Decode steps that the simulator made one event are one `Step`: ``num_steps`` counts them, and each chunk has one
    token for each.
    """

    instance_id: int
    start_s: float
    end_s: float
    chunks: tuple[ChunkRun, ...]
    num_steps: int = 1


class Move(NamedTuple):
    """Keys and values of one sequence on their way between two instances; times in seconds."""

    request_id: int
    sample: int
    source_id: int
    target_id: int
    start_s: float
    end_s: float
    num_blocks: int


@dataclass(slots=True)
class History:
    """Steps and moves in the order in which they ended, and the role of each instance."""

    steps: list[Step] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    roles: dict[int, str] = field(default_factory=dict)


class WatchedCluster(Cluster):
    """A cluster that keeps a `History`. Steps that an instance never finished are not in it."""

    def __init__(
        self,
        instances: Iterable[Instance],
        router: Router | None = None,
        decode_router: Router | None = None,
        **options: Any,
    ) -> None:
        self.history = History()
        self._began: dict[Batch, tuple[float, tuple[ChunkRun, ...]]] = {}
        self._num_steps: dict[Batch, int] = {}  # of the batch that runs, as far as reported
        self._moving: dict[int, Move] = {}
        super().__init__(instances, router, decode_router, **options)
        self.history.roles = {instance.id: instance.role for instance in self.instances.values()}

    def decide(self, now_s: float) -> list[Action]:
        """Note what begins."""
        actions = super().decide(now_s)
        for action in actions:
            match action:
                case RunBatch(batch):
                    self._began[batch] = (now_s, chunk_runs(batch))
                    self._num_steps[batch] = 0
        return actions

    def start_transfers(self, now_s: float) -> list[Action]:
        """Note what sets out."""
        actions = super().start_transfers(now_s)
        for action in actions:
            if isinstance(action, StartTransfer):
                transfer = action.transfer
                source, target = transfer.source.id, transfer.target.id
                num_blocks = transfer.num_blocks
                self._moving[transfer.id] = Move(*transfer.sequence.id, source, target, now_s, now_s, num_blocks)
        return actions

    def on_batch_progress(self, batch: Batch, num_steps: int, now_s: float) -> list[Action]:
        """Count the steps of the batch that runs."""
        self._num_steps[batch] += num_steps
        return super().on_batch_progress(batch, num_steps, now_s)

    def on_batch_done(self, batch: Batch, results: list[TokenResult], now_s: float, num_steps: int = 1) -> list[Action]:
        """Note what ended."""
        if began := self._began.pop(batch, None):
            start_s, chunks = began
            num_steps_in_all = self._num_steps.pop(batch) + num_steps
            if num_steps_in_all > 1:
                chunks = tuple([ChunkRun(*it[:3], num_steps_in_all, it.is_prefill) for it in chunks])
            self.history.steps.append(Step(batch.instance_id, start_s, now_s, chunks, num_steps_in_all))
        return super().on_batch_done(batch, results, now_s, num_steps)

    def on_transfer_done(self, transfer_id: int, now_s: float) -> list[Action]:
        """Note what has arrived."""
        if move := self._moving.pop(transfer_id, None):
            self.history.moves.append(move._replace(end_s=now_s))
        return super().on_transfer_done(transfer_id, now_s)


def chunk_runs(batch: Batch) -> tuple[ChunkRun, ...]:
    """The chunks of a batch as plain numbers, decodes first."""
    decodes = [_run(sequence, sequence.num_computed_tokens, 1) for sequence in batch.decodes]
    return (*decodes, *[_run(chunk.sequence, chunk.start, chunk.num_tokens) for chunk in batch.prompts])


def _run(sequence: Sequence, start: int, num_tokens: int) -> ChunkRun:
    """More than one token left to compute makes it prefill."""
    is_prefill = sequence.num_known_tokens - start > 1 or sequence.num_output_tokens == 0
    return ChunkRun(*sequence.id, start, num_tokens, is_prefill)
