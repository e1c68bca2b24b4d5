"""What a chunk costs: beside decodes and alone, on the machines of the explorer, and measured on an H100."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from course.curriculum.lesson_08_chunked_prefill.explorer import A100, ADDED, H100, TINY, cost_of
from course.curriculum.lesson_08_chunked_prefill.mixed_steps import MixedStep, load
from course.figures.palette import SERIES, WAITING
from course.figures.style import new_figure, steps_for_ticks
from course.serving.batch import Batch, ScheduledChunk

MEASURED = "H100, measured"
NUM_DECODES, CONTEXT = 16, 512
SIZES = (0, 16, 32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024)
COLOURS = {A100: SERIES[0], ADDED: SERIES[2], H100: SERIES[1], MEASURED: SERIES[1], TINY: WAITING}


def step_s(machine: str, num_decodes: int, context: int, start: int, chunk: int) -> float:
    """One step, as in `MixedStep`: decodes with ``context`` cached tokens each, and a chunk behind ``start`` tokens."""
    if machine == MEASURED:
        return load()[1][MixedStep(num_decodes, context, start, chunk)]
    prompts = [ScheduledChunk(None, start, chunk, [], ())] if chunk else []  # type: ignore[arg-type]
    decodes = (None,) * num_decodes
    return cost_of(machine).batch_s(Batch(0, 0, prompts, decodes, num_decodes * context))  # type: ignore[arg-type]


def prompt_s(machine: str, cut: Sequence[tuple[int, int, bool]]) -> float:
    """A prompt alone, chunk after chunk (start, number of tokens, whether it is sampled)."""
    return sum(step_s(machine, 0, CONTEXT, start, num_tokens) for start, num_tokens, _ in cut)


def beside_decodes(
    machines: Sequence[str] = (A100, ADDED, H100, MEASURED, TINY), num_decodes: int = NUM_DECODES
) -> dict[str, list[float]]:
    """For each machine and each of `SIZES`: how many times as long as decodes alone a step with such a chunk takes."""
    alone = {machine: step_s(machine, num_decodes, CONTEXT, 0, 0) for machine in machines}
    return {m: [step_s(m, num_decodes, CONTEXT, 0, size) / alone[m] for size in SIZES] for m in machines}


def chunk_prices(
    times: Mapping[str, Sequence[float]], title: str = "A step with a chunk, against decodes alone"
) -> go.Figure:
    """How much longer a step gets with the chunk that it carries; what was measured as dots."""
    traces = []
    for name, values in times.items():
        measured = name == MEASURED
        traces.append(
            go.Scatter(
                name=name,
                x=list(SIZES),
                y=[round(value, 3) for value in values],
                mode="markers" if measured else "lines",
                line={"color": COLOURS[name], "width": 3, "dash": "dot" if name == TINY else "solid"},
                marker={"color": COLOURS[name], "size": 10},
                hovertemplate="%{x} tokens: %{y:.2f} times<extra>" + name + "</extra>",
            )
        )
    ticks = [0, 128, 256, 384, 512, 768, 1024]
    axes: dict[str, Any] = {"xaxis": {"title": {"text": "tokens of the prompt in the step"}, "tickvals": ticks}}
    axes["xaxis"]["ticktext"] = steps_for_ticks(ticks)
    axes["yaxis"] = {"title": {"text": "times as long"}, "range": [0, 8]}
    legend = {"orientation": "v", "x": 0.02, "y": 0.98, "yanchor": "top"}
    return new_figure(traces, title, height=460, legend=legend, **axes)
