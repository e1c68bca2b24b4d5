"""What the cache costs in memory, and what it saves in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.curriculum.lesson_02_kv_cache import exercises
from course.figures import (
    MemoryUse,
    PromptCost,
    cached_vs_uncached,
    cached_vs_uncached_summary,
    kv_memory,
    kv_memory_summary,
)
from course.widgets import Choice, Explorer, LogSlider

GPU_BYTES = 80 * 10**9  # an A100 or H100 with 80 GB
FP16_BYTES = 2


class Shape(NamedTuple):
    """What of a model decides its memory, as in its published configuration; ``num_gpus`` of 80 GB each."""

    num_parameters: float
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    num_gpus: int


SHAPES = {
    "OPT-13B, 1 GPU": Shape(13e9, 40, 40, 40, 128, 1),
    "OPT-66B, 4 GPUs": Shape(66e9, 64, 72, 72, 128, 4),
    "Llama-2-7B, 1 GPU": Shape(6.74e9, 32, 32, 32, 128, 1),
    "Llama-3-8B, 1 GPU": Shape(8.03e9, 32, 32, 8, 128, 1),
    "Llama-3-70B, 4 GPUs": Shape(70.6e9, 80, 64, 8, 128, 4),
}

KvBytes = Callable[[int, int, int, int, int], int]
"""Bytes of keys and values of one token: of (layers, query heads, KV heads, head dimension, bytes per number)."""

Generate = Callable[[Any, list[int], int], list[int]]
"""The loop that writes an answer: of (model, prompt, number of tokens)."""


def memory_of(model: str, kv_bytes: KvBytes = exercises.kv_bytes) -> MemoryUse:
    """Weights and KV of a model in 16-bit numbers on its GPUs."""
    shape = SHAPES[model]
    per_token = kv_bytes(shape.num_layers, shape.num_heads, shape.num_kv_heads, shape.head_dim, FP16_BYTES)
    return MemoryUse(shape.num_gpus * GPU_BYTES, shape.num_parameters * FP16_BYTES, per_token)


MEMORY_CONTROLS = (
    Choice("model", "model", tuple(SHAPES), "OPT-13B, 1 GPU", help="Model and number of 80 GB GPUs"),
    LogSlider("context", "context (tokens)", 128, 131072, 2048, help="Prompt and answer of each sequence together"),
    LogSlider("batch", "batch (sequences)", 1, 1024, 16, help="Sequences served at the same time"),
)


def figure(model: str, context: int, batch: int, *, kv_bytes: KvBytes = exercises.kv_bytes) -> go.Figure:
    """What fills the memory, and how many sequences fit."""
    return kv_memory(memory_of(model, kv_bytes), context, batch, f"What fills the memory: {model}")


def summary(model: str, context: int, batch: int, *, kv_bytes: KvBytes = exercises.kv_bytes) -> str:
    """The same in one line."""
    return kv_memory_summary(memory_of(model, kv_bytes), context, batch)


def explorer(kv_bytes: KvBytes = exercises.kv_bytes) -> Explorer:
    """With sliders; ``kv_bytes`` may be the learner's own."""
    return Explorer(partial(figure, kv_bytes=kv_bytes), MEMORY_CONTROLS, partial(summary, kv_bytes=kv_bytes))


class DecodeCost(NamedTuple):
    """Seconds of a decode step of one sequence: ``constant_s`` + ``context_s`` * tokens in its cache."""

    constant_s: float
    context_s: float


COSTS = {
    "OPT-13B on one A100": (
        PromptCost(18.103e-3, 0.101912e-3, 7.122e-9),
        DecodeCost((19.935 + 0.03851) * 1e-3, 6.269e-7),
    ),
    "OPT-66B on four A100": (
        PromptCost(29.442e-3, 0.151352e-3, 8.317e-9),
        DecodeCost((30.760 + 0.06328) * 1e-3, 4.519e-7),
    ),
}
"""Prefill and decode as fitted to measurements by the authors of DistServe (OSDI'24): github.com/LLMServe/DistServe,
simdistserve/estimators/profile_data/profiler-a100-80g.distserve.json; decode with a batch of one."""

TIME_CONTROLS = (
    Choice("model", "model", tuple(COSTS), "OPT-13B on one A100", help="The model and the GPUs that it runs on"),
    LogSlider("prompt_tokens", "prompt (tokens)", 16, 1024, 256, help="Length of the prompt"),
    LogSlider("output_tokens", "answer (tokens)", 2, 256, 64, help="Length of the answer, its first token included"),
)


class TimedModel:
    """Computes nothing, and knows how long each step would take: a stand-in for the real model in a learner's loop.

    A step of several tokens costs a prefill of so many, a step of one behind a cache a decode step.
    """

    def __init__(self, model: str) -> None:
        self.prefill, self.decode = COSTS[model]
        self.seconds: list[float] = []

    def empty_cache(self) -> int:
        """Tokens in it."""
        return 0

    def step(self, tokens: Sequence[int], cache: int) -> tuple[int, int]:
        """Note the time; always the same token follows."""
        is_decode = cache > 0 and len(tokens) == 1
        decode_s = self.decode.constant_s + self.decode.context_s * (cache + 1)
        self.seconds.append(decode_s if is_decode else self.prefill.ttft_s(len(tokens)))
        return 0, cache + len(tokens)


def without_cache(model: Any, prompt: list[int], num_tokens: int) -> list[int]:
    """The loop that reads the whole text again for each token."""
    text = list(prompt)
    for _ in range(num_tokens):
        token, _ = model.step(text, model.empty_cache())
        text.append(token)
    return text[len(prompt) :]


def times_s(
    model: str, prompt_tokens: int, output_tokens: int, *, generate: Generate = exercises.generate
) -> tuple[list[float], list[float]]:
    """Seconds for each token of an answer with a cache, as ``generate`` uses it, and without one."""
    times = []
    for loop in (generate, without_cache):
        timed = TimedModel(model)
        loop(timed, [0] * prompt_tokens, output_tokens)
        times.append(timed.seconds)
    return times[0], times[1]


def time_figure(
    model: str, prompt_tokens: int, output_tokens: int, *, generate: Generate = exercises.generate
) -> go.Figure:
    """TTFT and time of every later token with and without a cache."""
    times = times_s(model, prompt_tokens, output_tokens, generate=generate)
    return cached_vs_uncached(*times, f"Time for each token: {model}")


def time_summary(model: str, prompt_tokens: int, output_tokens: int, *, generate: Generate = exercises.generate) -> str:
    """The same in one line."""
    return cached_vs_uncached_summary(*times_s(model, prompt_tokens, output_tokens, generate=generate))


def time_explorer(generate: Generate = exercises.generate) -> Explorer:
    """With sliders; ``generate`` may be the learner's own."""
    return Explorer(partial(time_figure, generate=generate), TIME_CONTROLS, partial(time_summary, generate=generate))
