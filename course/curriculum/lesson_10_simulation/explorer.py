"""Two GPUs for prompts, used in two ways: what queueing theory says, and what the learner's event loop does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from course.curriculum.lesson_10_simulation import exercises
from course.figures import PromptCost, Way, queue_curves, queue_curves_summary
from course.widgets import Explorer, LogSlider, Slider
from course.workload.arrivals import poisson_arrivals
from course.workload.lengths import Lognormal, lognormal_lengths

Serve = Callable[..., list[list[float]]]
"""`serve`: from requests, step times and a limit to the times of all tokens."""
MeanTtft = Callable[..., float]

OPT_13B_PREFILL = PromptCost(18.103e-3, 0.101912e-3, 7.122e-9)
"""OPT-13B on one A100, fitted to measurements by the authors of DistServe (OSDI'24): github.com/LLMServe/DistServe,
simdistserve/estimators/profile_data/profiler-a100-80g.distserve.json."""

ONE, TENSOR, PIPELINE = "one GPU", "two, tensor", "two, pipeline"
NUM_PROMPTS = 600  # of each dot
LOADS = (0.3, 0.6, 0.9)  # of each way's own limit
NUM_RATES = 60

CONTROLS = (
    Slider("rate", "requests per second", 1, 40, 1, 10, help="How many prompts arrive each second, at random"),
    Slider(
        "speedup", "speed-up K of two GPUs", 1.1, 1.9, 0.1, 1.5, help="Tensor parallel: how much faster a prompt is"
    ),
    LogSlider("prompt", "prompt (tokens)", 64, 2048, 512, help="OPT-13B on A100: 512 tokens take 72 ms"),
    Slider("spread", "spread of prompt lengths", 0.0, 1.0, 0.25, 0.0, help="0: all alike, as the formulas want it"),
)


class Learner(NamedTuple):
    """The functions that are explored: the learner's, where they pass."""

    mean_ttft: MeanTtft = exercises.mean_ttft
    tensor_ttft: MeanTtft = exercises.tensor_ttft
    pipeline_ttft: MeanTtft = exercises.pipeline_ttft
    serve: Serve = exercises.serve


class Scene(NamedTuple):
    """What the picture is made of."""

    rates: list[float]
    ways: list[Way]
    rate: float
    crossover: tuple[float, float] | None


@lru_cache(maxsize=32)
def lengths_of(prompt: int, spread: float, num: int) -> tuple[int, ...]:
    """Lengths of so many prompts, of the same mean whatever the spread."""
    median = prompt * math.exp(-spread * spread / 2)
    drawn = lognormal_lengths(num, Lognormal(median, spread, low=1, high=16 * prompt), Lognormal(1, 0, low=1), seed=0)
    return tuple(drawn.prompt_tokens.tolist())


def ttfts_s(
    serve: Serve, rate: float, lengths: Sequence[int], cost: PromptCost, speedup: float = 1.0, num_stages: int = 1
) -> list[float]:
    """TTFT of each prompt, one at a time, on GPUs that are ``speedup`` times as fast, or on stages one behind another.

    What leaves a stage arrives at the next one: each stage is a run of ``serve``.
    """

    seconds = {length: cost.ttft_s(length) / speedup / num_stages for length in set(lengths)}

    def step_s(prompts: list[int], contexts: list[int]) -> float:
        return seconds[prompts[0]]

    arrivals_s = poisson_arrivals(len(lengths), rate, seed=0).tolist()
    at_s = arrivals_s
    for _stage in range(num_stages):
        requests = [(time_s, length, 1) for time_s, length in zip(at_s, lengths, strict=True)]
        at_s = [row[0] for row in serve(requests, step_s, 1)]
    return [end_s - arrival_s for end_s, arrival_s in zip(at_s, arrivals_s, strict=True)]


def scene(rate: float, speedup: float, prompt: int, spread: float, learner: Learner) -> Scene:
    """Formulas and simulations of the three ways."""
    lengths = lengths_of(prompt, spread, NUM_PROMPTS)
    mean_s = float(np.mean([OPT_13B_PREFILL.ttft_s(n) for n in lengths]))
    rates = [float(r) for r in np.linspace(0, max(2.0 / mean_s, 1.05 * rate), NUM_RATES)]
    ways = []
    for name, formula, limit, how in (
        (ONE, learner.mean_ttft, 1.0, {}),
        (TENSOR, partial(learner.tensor_ttft, speedup=speedup), speedup, {"speedup": speedup}),
        (PIPELINE, learner.pipeline_ttft, 2.0, {"num_stages": 2}),
    ):
        most = limit / mean_s
        simulated = partial(_ttfts_s, learner.serve, lengths=lengths, **how)
        dots = [(share * most, float(np.mean(simulated(share * most)))) for share in LOADS]
        sample_s = simulated(float(rate)) if rate < most else ()
        ways.append(Way(name, [formula(r, mean_s) for r in rates], dots, sample_s))
    return Scene(rates, ways, rate, meeting(learner, mean_s, speedup))


@lru_cache(maxsize=512)
def _ttfts_s(
    serve: Serve, rate: float, lengths: tuple[int, ...], speedup: float = 1.0, num_stages: int = 1
) -> tuple[float, ...]:
    return tuple(ttfts_s(serve, rate, lengths, OPT_13B_PREFILL, speedup, num_stages))


def meeting(learner: Learner, prefill_s: float, speedup: float) -> tuple[float, float] | None:
    """Where the pipeline overtakes, by bisection: (requests per second, seconds); None if it does not."""

    def lead(rate: float) -> float:
        """By how much the tensor-parallel GPUs are sooner."""
        tensor_s = learner.tensor_ttft(rate, prefill_s, speedup)
        return learner.pipeline_ttft(rate, prefill_s) - tensor_s if tensor_s < math.inf else -math.inf

    low, high = 0.0, speedup / prefill_s
    if not lead(low) > 0 > lead(high):
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if lead(middle) > 0 else (low, middle)
    return low, learner.pipeline_ttft(low, prefill_s)


def figure(rate: float, speedup: float, prompt: int, spread: float, learner: Learner = Learner()) -> go.Figure:  # noqa: B008
    """Curves, dots, and single prompts."""
    drawn = scene(rate, speedup, prompt, spread, learner)
    return queue_curves(*drawn, title="Prompts of OPT-13B on A100: one GPU, or two")


def summary(rate: float, speedup: float, prompt: int, spread: float, learner: Learner = Learner()) -> str:  # noqa: B008
    """The same in a line."""
    return queue_curves_summary(*scene(rate, speedup, prompt, spread, learner))


def explorer(*functions: Callable[..., object]) -> Explorer:
    """With sliders: `mean_ttft`, `tensor_ttft`, `pipeline_ttft` and `serve` may be the learner's own."""
    learner = Learner(*functions)  # type: ignore[arg-type]
    return Explorer(partial(figure, learner=learner), CONTROLS, partial(summary, learner=learner))
