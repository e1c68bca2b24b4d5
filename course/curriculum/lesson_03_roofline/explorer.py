"""The operators of a prefill and of a decode step under the roof, and what that makes of TTFT and TPOT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import plotly.graph_objects as go

from course.curriculum.lesson_03_roofline import exercises
from course.curriculum.lesson_03_roofline.exercises import Work
from course.curriculum.lesson_03_roofline.models import Model, model_of, roof_of
from course.errors import UserError
from course.figures import Dot, PromptCost, Roof, phases_under_roof, phases_under_roof_summary
from course.simulator.capacity import kv_capacity
from course.simulator.hardware import load_hardware
from course.simulator.shapes import load_shape
from course.widgets import Choice, Explorer, LogSlider
from course.widgets.controls import Control

Step = Callable[[Any, list[tuple[int, int]]], Work]
"""FLOPs and bytes of each operator: of (model, sequences as (new tokens, cached tokens))."""

MODELS = {"OPT-13B": "opt-13b", "Llama-3.1-8B": "llama-3.1-8b", "Qwen2.5-14B": "qwen2.5-14b"}
GPUS = {"A100": "a100-80gb", "H100": "h100", "H200": "h200", "L4": "l4"}
MACHINE = "this machine"

OPT_13B_PREFILL = PromptCost(18.103e-3, 0.101912e-3, 7.122e-9)
"""OPT-13B on one A100, fitted to measurements by the authors of DistServe (OSDI'24): github.com/LLMServe/DistServe,
simdistserve/estimators/profile_data/profiler-a100-80g.distserve.json."""


def opt_13b_decode_s(batch: int, context: int) -> float:
    """A decode step of up to 94 sequences, of the same fits: each with ``context`` tokens, the new one among them."""
    return 19.935e-3 + 6.269e-7 * batch * context + 3.851e-5 * batch


def dots(work: Work, phase: str) -> list[Dot]:
    """Each operator of a step as a dot on the roof."""
    return [Dot(name, phase, flops, num_bytes) for name, (flops, num_bytes) in work.items()]


def phases(model: Model, batch: int, context: int, step: Step = exercises.step) -> dict[str, list[Dot]]:
    """The prefill of one prompt of ``context`` tokens, and a decode step of ``batch`` sequences behind as many."""
    return {
        "prefill": dots(step(model, [(context, 0)]), "prefill"),
        "decode": dots(step(model, [(1, context)] * batch), "decode"),
    }


def controls(hardware: Mapping[str, Roof]) -> tuple[Control, ...]:
    """Model, hardware, batch and length."""
    return (
        Choice("model", "model", tuple(MODELS), "OPT-13B", help="In numbers of 16 bits"),
        Choice("hardware", "hardware", tuple(hardware), "A100", help="Peaks of the datasheet; or what was measured"),
        LogSlider("batch", "batch (decodes)", 1, 512, 1, help="Sequences that decode in the same step"),
        LogSlider(
            "context", "prompt (tokens)", 16, 16384, 512, help="Decodes stand behind as many; OPT itself reads 2,048"
        ),
    )


def figure(
    model: str, hardware: str, batch: int, context: int, *, roofs: Mapping[str, Roof], step: Step = exercises.step
) -> go.Figure:
    """The operators under the roof, and what each step's time is spent on."""
    parts = phases(model_of(MODELS[model]), batch, context, step)
    return phases_under_roof(roofs[hardware], parts, f"{model} on {'one ' * (hardware in GPUS)}{hardware}")


def summary(
    model: str, hardware: str, batch: int, context: int, *, roofs: Mapping[str, Roof], step: Step = exercises.step
) -> str:
    """The same in words, and whether the caches of the batch fit."""
    parts = phases(model_of(MODELS[model]), batch, context, step)
    return f"{phases_under_roof_summary(roofs[hardware], parts)} {fit(model, hardware, batch * context)}".rstrip()


def fit(model: str, hardware: str, num_tokens: int) -> str:
    """Whether caches of so many tokens fit beside the weights; nothing for a machine that is no GPU."""
    if hardware not in GPUS:
        return ""
    try:
        most = kv_capacity(load_shape(MODELS[model]), load_hardware(GPUS[hardware]))
    except UserError:
        return "The weights alone do NOT fit into its memory."
    verdict = "fit" if num_tokens <= most else "do NOT fit"
    return f"The caches of the batch hold {num_tokens:,} tokens and {verdict}: there is room for {most:,}."


def explorer(step: Step = exercises.step, machine: Roof | None = None) -> Explorer:
    """With sliders. ``step`` may be the learner's own, ``machine`` what was measured here."""
    roofs = {name: roof_of(gpu) for name, gpu in GPUS.items()}
    if machine is not None:
        roofs[MACHINE] = machine
    draw, say = partial(figure, roofs=roofs, step=step), partial(summary, roofs=roofs, step=step)
    return Explorer(draw, controls(roofs), say)
