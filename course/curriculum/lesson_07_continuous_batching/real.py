"""Twelve people ask the tiny model at once; one scheduler after the other serves them."""

from __future__ import annotations

from typing import NamedTuple

from course.engine.local import LocalEngine
from course.figures import History, WatchedCluster
from course.metrics.record import RequestRecord
from course.model.loading import Model
from course.serving.plan import Scheduler

PROMPTS = (
    *("The function returns", "A list is", "A thread is", "The module provides", "This class represents"),
    *("If the file", "An iterator", "The first argument", "A dictionary maps", "To open a file"),
    *("The string method", "When an exception"),
)
LENGTHS = (6, 48, 9, 12, 64, 7, 10, 8, 5, 40, 11, 9)  # tokens of each answer


class Served(NamedTuple):
    """The tokens of each answer, when they came, and what ran when."""

    tokens: list[list[int]]
    records: list[RequestRecord]
    history: History

    @property
    def seconds(self) -> float:
        """Until the last token."""
        return max(record.token_times_s[-1] for record in self.records)

    @property
    def run(self) -> tuple[list[RequestRecord], History]:
        """For a timeline."""
        return self.records, self.history


def serve(model: Model, scheduler: Scheduler, runs: int = 1) -> Served:
    """All twelve; the quickest of so many runs, for a machine with neighbours is sometimes slow."""
    return min((serve_once(model, scheduler) for _ in range(runs)), key=lambda served: served.seconds)


def serve_once(
    model: Model, scheduler: Scheduler, lengths: tuple[int, ...] = LENGTHS, num_blocks: int = 1024
) -> Served:
    """Answers of so many tokens to the first so many prompts, all asked at time 0."""
    engine = LocalEngine(model, scheduler, num_blocks=num_blocks, make_cluster=WatchedCluster)
    answers = [
        engine.submit(prompt, length, ignore_end=True)[0] for prompt, length in zip(PROMPTS, lengths, strict=False)
    ]
    while engine.num_unfinished:
        engine.advance()
    assert isinstance(engine.cluster, WatchedCluster)
    return Served([answer.tokens for answer in answers], engine.recorder.records, engine.cluster.history)
