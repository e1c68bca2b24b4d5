"""What a prompt costs, and where a model looks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import plotly.graph_objects as go

from course.figures import PromptCost, attention_pattern, attention_summary, prompt_cost, prompt_cost_summary
from course.figures.attention import Matrix
from course.figures.palette import SHADES
from course.figures.style import new_figure
from course.widgets import Choice, Explorer, LogSlider, Slider, Text

COSTS = {
    "OPT-13B on one A100": PromptCost(18.103e-3, 0.101912e-3, 7.122e-9),
    "OPT-66B on four A100": PromptCost(29.442e-3, 0.151352e-3, 8.317e-9),
}
"""Fitted to measurements by the authors of DistServe (OSDI'24): github.com/LLMServe/DistServe,
simdistserve/estimators/profile_data/profiler-a100-80g.distserve.json. OPT reads 2,048 tokens; beyond, the curves
extrapolate."""

COST_CONTROLS = (
    Choice("model", "model", tuple(COSTS), "OPT-13B on one A100", help="The model and the GPUs that it runs on"),
    LogSlider("prompt_tokens", "prompt (tokens)", 16, 65536, 2048, help="Length of the prompt"),
)


def figure(model: str, prompt_tokens: int) -> go.Figure:
    """The constant, the linear and the quadratic part of TTFT, up to twice the prompt."""
    return prompt_cost(COSTS[model], prompt_tokens, f"What a prompt costs: {model}")


def summary(model: str, prompt_tokens: int) -> str:
    """The same in one line."""
    return prompt_cost_summary(COSTS[model], prompt_tokens)


def explorer() -> Explorer:
    """With sliders."""
    return Explorer(figure, COST_CONTROLS, summary)


class Pattern(NamedTuple):
    """Attention of a real model over one text: ``weights[layer][head][i][j]``, each row i summing to 1."""

    tokens: list[str]
    weights: list[list[Matrix]]


Look = Callable[[str], Pattern]
"""Runs a text through a model and says where each of its heads looked."""


def pattern_figure(text: str, layer: int, head: int, *, look: Look) -> go.Figure:
    """Which token looks at which, in one head of one layer (both from 0)."""
    tokens, weights = look(text)
    return attention_pattern(tokens, weights[layer][head], f"Layer {layer}, head {head}: who looks at whom")


def pattern_summary(text: str, layer: int, head: int, *, look: Look) -> str:
    """The same in one line."""
    tokens, weights = look(text)
    return attention_summary(tokens, weights[layer][head])


def pattern_explorer(look: Look, text: str, num_layers: int, num_heads: int) -> Explorer:
    """Type a text, choose layer and head. ``look`` should remember its last text: heads are changed often."""
    controls = (
        Text("text", "text", text, help="Press Enter to run it through the model"),
        Slider("layer", "layer", 0, num_layers - 1, 1, 0, help="Layers are counted from 0"),
        Slider("head", "head", 0, num_heads - 1, 1, 0, help="Heads are counted from 0"),
    )
    return Explorer(partial(pattern_figure, look=look), controls, partial(pattern_summary, look=look))


def compare_patterns(expected: Matrix, got: Matrix) -> go.Figure:
    """Two patterns of attention side by side: what it should be, and what an exercise's answer gives."""
    panels = (("expected", expected, "", (0, 0.46)), ("yours", got, "2", (0.54, 1)))
    traces, layout, notes = [], {}, []
    for name, weights, panel, domain in panels:
        rows = [[round(weight, 2) for weight in row] for row in weights]
        traces.append(
            go.Heatmap(
                name=name,
                z=rows,
                xaxis=f"x{panel}",
                yaxis=f"y{panel}",
                zmin=0,
                zmax=1,
                colorscale=SHADES,
                showscale=False,
                texttemplate="%{z:.2f}",
                textfont={"size": 12},
                xgap=2,
                ygap=2,
                hovertemplate="token %{y} looks at token %{x}: %{z:.2f}<extra>" + name + "</extra>",
            )
        )
        plain = {"showgrid": False, "showline": False, "ticks": "", "dtick": 1}
        layout[f"xaxis{panel}"] = plain | {"domain": domain, "title": {"text": "looks at"}}
        layout[f"yaxis{panel}"] = plain | {"autorange": "reversed", "anchor": f"x{panel}"}
        note = {"text": name, "x": domain[0], "y": 1.02, "xref": "paper", "yref": "paper", "showarrow": False}
        notes.append(note | {"xanchor": "left", "yanchor": "bottom"})
    layout["yaxis"] |= {"title": {"text": "this token"}}
    return new_figure(traces, "Weights", height=340, annotations=notes, margin={"t": 80}, **layout)
