"""People who ask the tiny model behind the same system prompt, on the engine, with a prefix cache and without."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch

from course.engine.local import LocalEngine
from course.model.loading import Model, load_model
from course.serving.plan import Scheduler

SYSTEMS = (
    "A list holds values in order. A dictionary maps keys to values, and a set holds each value once. "
    "The function returns None if nothing was found. To open a file, call open with its name. ",
    "To open a file, call open with its name. The function returns None if nothing was found. "
    "An iterator gives one value after the other. ",
)
QUESTIONS = (
    *("What is a list?", "What does the function return?", "How do I open a file?", "What is a set for?"),
    *("What does a dictionary map?", "When is None returned?"),
)
ANSWER_TOKENS = 12


@cache
def tiny() -> Model:
    """The tiny model in double precision: how a prompt is cut cannot turn a near tie there."""
    torch.set_num_threads(1)  # a model this small gains nothing from more
    return load_model("tiny", dtype="float64")


@cache
def prompts(num_system_tokens: int = 800, which: int = 0) -> list[list[int]]:
    """Token ids: one of the system prompts, and behind it each question."""
    system = tiny().encode(SYSTEMS[which] * (2 + num_system_tokens // 20))[:num_system_tokens]
    return [system + tiny().encode(" " + question) for question in QUESTIONS]


class Asked(NamedTuple):
    """Tokens of each answer, seconds to its first token, and prompt tokens looked up and found."""

    tokens: list[list[int]]
    ttft_s: list[float]
    num_queried_tokens: int
    num_hit_tokens: int


def ask(engine: LocalEngine, texts: Sequence[Sequence[int]]) -> Asked:
    """One after the other, each when the one before has its answer."""
    tokens, ttft_s = [], []
    memory = engine.instance.memory
    queried, hits = memory.num_queried_tokens, memory.num_hit_tokens
    for text in texts:
        began_s = time.perf_counter()
        [answer] = engine.submit(list(text), ANSWER_TOKENS, ignore_end=True)
        while not answer.tokens:
            engine.advance()
        ttft_s.append(time.perf_counter() - began_s)
        while not answer.is_ended:
            engine.advance()
        tokens.append(answer.tokens)
    return Asked(tokens, ttft_s, memory.num_queried_tokens - queried, memory.num_hit_tokens - hits)


def ask_together(engine: LocalEngine, texts: Sequence[Sequence[int]]) -> Asked:
    """All at once; who is served first is the scheduler's choice. TTFT counts from a request's own arrival."""
    memory = engine.instance.memory
    answers = [engine.submit(list(text), ANSWER_TOKENS, ignore_end=True)[0] for text in texts]
    while engine.num_unfinished:
        engine.advance()
    records = engine.recorder.records[-len(texts) :]
    ttft_s = [record.token_times_s[0] - record.arrival_s for record in records]
    tokens = [answer.tokens for answer in answers]
    return Asked(tokens, ttft_s, memory.num_queried_tokens, memory.num_hit_tokens)


def fresh(
    make_pool: Callable[..., Any] | None = None, num_blocks: int = 256, scheduler: str | Scheduler = "prefill-first"
) -> LocalEngine:
    """An engine with nothing in its cache; with ``make_pool``, a prefix cache of somebody's own."""
    if make_pool is None:
        return LocalEngine(tiny(), scheduler, num_blocks=num_blocks)
    return LocalEngine(tiny(), scheduler, num_blocks=num_blocks, prefix_cache=True, make_pool=make_pool)
