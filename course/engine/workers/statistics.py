"""What is counted of the workers while an engine runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from course.engine.workers.handle import Worker
from course.serving.batch import Batch
from course.serving.sequence import Sequence as ServedSequence


class Event(NamedTuple):
    """Something that happened to a worker; time in seconds on the engine's clock."""

    time_s: float
    worker: int
    role: str
    what: str


@dataclass(slots=True)
class Statistics:
    """Sums since the engine was started, and what has happened to its workers lately.

    ``num_recomputed`` counts sequences that lost computed tokens with a worker, ``num_recomputed_tokens`` those tokens.
    ``prefill_s`` is the time that workers spent in steps that computed prompts, ``decode_s`` in all others.
    """

    num_lost: int = 0
    num_restarts: int = 0
    num_recomputed: int = 0
    num_recomputed_tokens: int = 0
    num_steps: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=1000))

    def note(self, time_s: float, worker: Worker, what: str) -> None:
        """Something has happened to a worker."""
        self.events.append(Event(time_s, worker.instance.id, worker.instance.role, what))

    def add_step(self, batch: Batch, seconds: float) -> None:
        """A step is done."""
        self.num_steps += 1
        if batch.prompts:
            self.prefill_s += seconds
        else:
            self.decode_s += seconds

    def add_loss(self, time_s: float, worker: Worker, reason: str, sequences: Sequence[ServedSequence]) -> None:
        """A worker is lost with all that these had computed."""
        self.num_lost += 1
        hit = [sequence.num_computed_tokens for sequence in sequences if sequence.num_computed_tokens]
        self.num_recomputed += len(hit)
        self.num_recomputed_tokens += sum(hit)
        where = f"worker {worker.instance.id} ({worker.instance.role}, {worker.begin.device}) is lost"
        self.note(time_s, worker, f"{where}: {reason}")
