"""Serve a list of texts on an engine, all of them there at the beginning, and note what each step did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import torch

from course.engine.local import LocalEngine
from course.engine.replay import serve
from course.engine.texts import Step, Token
from course.figures.block_map import Held
from course.model.loading import Model, load_model
from course.workload.request import Request, Workload

TEXT = "A list holds values in order. A dictionary maps keys to values, and a set holds each value once. "
PROMPT_TOKENS = (12, 31, 20, 45, 16, 27, 38, 23)
ANSWER_TOKENS = (24, 60, 35, 90, 18, 47, 30, 72)


@cache
def tiny() -> Model:
    """The tiny model in double precision: who shares the batch cannot turn a near tie there."""
    torch.set_num_threads(1)  # a model this small gains nothing from more
    return load_model("tiny", dtype="float64")


def workload(num: int, declared: int) -> Workload:
    """Requests of different lengths that all arrive at once; each says that it wants up to ``declared`` tokens."""
    words = tiny().encode(TEXT * 8)
    requests = [
        Request(i, 0.0, length := PROMPT_TOKENS[i % 8] + i % 5, declared, prompt=tuple(words[i : i + length]))
        for i in range(num)
    ]
    return Workload(requests, {i: ANSWER_TOKENS[(3 * i) % 8] for i in range(num)})


@dataclass
class Served:
    """What came out, and what it took. Two lists have an entry for each step; ``token_steps`` says when tokens came."""

    answers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    token_steps: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    num_running: list[int] = field(default_factory=list)
    num_cached_tokens: list[int] = field(default_factory=list)
    num_computed: int = 0
    num_moved_blocks: int = 0
    num_preemptions: int = 0

    @property
    def num_steps(self) -> int:
        """Steps from the first to the last token."""
        return len(self.num_running)

    def mean_share(self, num_slots: int) -> float:
        """The share of the memory that held tokens, in the mean over the steps."""
        return sum(self.num_cached_tokens) / len(self.num_cached_tokens) / num_slots


def serve_all(engine: LocalEngine, work: Workload) -> Served:
    """Serve them to the end."""
    served, run = Served(), engine.executor.run

    def watched(step: Step) -> list[int]:
        running = engine.instance.running
        served.num_running.append(len(running))
        served.num_cached_tokens.append(sum(sequence.num_computed_tokens for sequence in running))
        served.num_computed += sum(len(chunk.token_ids) for chunk in step.chunks)
        served.num_moved_blocks += len(step.swap_out) + len(step.swap_in)
        return run(step)

    def note(tokens: list[Token]) -> None:
        for token in tokens:
            request_id = token.sequence.request.id
            served.answers[request_id].append(token.token)
            served.token_steps[request_id].append(served.num_steps)

    engine.executor.run = watched  # type: ignore[method-assign]
    try:
        records = serve(engine, work, on_step=note)
    finally:
        engine.executor.run = run  # type: ignore[method-assign]
    served.num_preemptions = sum(record.num_preemptions for record in records)
    return served


def held_by(engine: LocalEngine, names: Sequence[str] = "ABCDEFGH") -> dict[str, Held]:
    """Who holds which blocks now, by letters in the order of arrival."""
    running = sorted(engine.instance.running, key=lambda sequence: sequence.id)
    return {
        names[i]: Held(sequence.block_table, sequence.num_computed_tokens)
        for i, sequence in enumerate(running)
        if sequence.block_table
    }
