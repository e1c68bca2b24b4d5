"""Predicted beside measured: every point on the diagonal would be a perfect prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import DECODE, PREFILL, SERIES, WAITING
from course.figures.style import ms, new_figure, say_ms
from course.metrics.statistics import percentile

Pairs = Sequence[tuple[float, float]]
"""(predicted, measured), in seconds."""

COLOURS = {"prefill": PREFILL, "TTFT": PREFILL, "decode": DECODE, "TPOT": DECODE}
SYMBOLS = ("circle", "diamond", "square")


def predicted_measured(groups: Mapping[str, Pairs], title: str = "Predicted and measured") -> go.Figure:
    """Measured against predicted on the left, both logarithmic, with the diagonal; the error of each on the right.

    Groups called "prefill" or "TTFT" and "decode" or "TPOT" have the colours of their phases.
    """
    values = [value for pairs in groups.values() for pair in pairs for value in pair]
    low, high = min(values) / 1.3, max(values) * 1.3
    line = {"color": WAITING, "width": 2, "dash": "dash"}
    shared: dict[str, Any] = {"mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False}
    traces = [
        go.Scatter(x=ms([low, high]), y=ms([low, high]), **shared),
        go.Scatter(x=ms([low, high]), y=[0, 0], xaxis="x2", yaxis="y2", **shared),
    ]
    worst = 0.1
    for i, (name, pairs) in enumerate(groups.items()):
        marker = {
            "color": COLOURS.get(name, SERIES[i % len(SERIES)]),
            "symbol": SYMBOLS[i % len(SYMBOLS)],
            "size": 10,
            "opacity": 0.85,
            "line": {"width": 0},
        }
        errors = [predicted / measured - 1 for predicted, measured in pairs]
        worst = max([worst, *map(abs, errors)])
        measured_ms = ms(measured for _, measured in pairs)
        shared = {"name": name, "mode": "markers", "marker": marker, "x": measured_ms}
        hover = name + ": predicted %{y:.3~g} ms, measured %{x:.3~g} ms<extra></extra>"
        traces.append(go.Scatter(y=ms(predicted for predicted, _ in pairs), hovertemplate=hover, **shared))
        hover = name + ": %{y:+.1%} at %{x:.3~g} ms<extra></extra>"
        rounded = [round(error, 4) for error in errors]
        traces.append(
            go.Scatter(y=rounded, hovertemplate=hover, xaxis="x2", yaxis="y2", **{**shared, "showlegend": False})
        )
    labelled = (1, 2, 5) if high < 30 * low else (1,)
    ticks = {"type": "log", "tickvals": [n * 10.0**power for power in range(-3, 6) for n in labelled]}
    axes: dict[str, Any] = {
        "xaxis": {"domain": [0, 0.46], "title": {"text": "measured (ms)"}, **ticks},
        "yaxis": {"title": {"text": "predicted (ms)"}, **ticks},
        "xaxis2": {"domain": [0.6, 1.0], "anchor": "y2", "title": {"text": "measured (ms)"}, **ticks},
        "yaxis2": {"anchor": "x2", "tickformat": "+.0%", "zeroline": False, "range": [-1.15 * worst, 1.15 * worst]},
    }
    axes["yaxis2"]["title"] = {"text": "error"}
    return new_figure(traces, title, height=440, **axes)


def predicted_measured_summary(groups: Mapping[str, Pairs]) -> str:
    """A line for each group: the medians of both, and how far off the prediction is: median and 90th percentile."""
    said = []
    for name, pairs in groups.items():
        predicted, measured = (sorted(column) for column in zip(*pairs, strict=True))
        errors = sorted(abs(one / other - 1) for one, other in pairs)
        said.append(
            f"{name}: median {say_ms(percentile(predicted, 50))} predicted, "
            f"{say_ms(percentile(measured, 50))} measured; "
            f"off by {percentile(errors, 50):.0%} (median), {percentile(errors, 90):.0%} (P90)."
        )
    return "\n".join(said)
