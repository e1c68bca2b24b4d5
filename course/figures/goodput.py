"""How many requests keep their limits as the rate rises, and the largest rate at which enough do."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import ACCENT, DECODE, PREFILL
from course.figures.style import dashed, new_figure
from course.simulator.goodput import Goodput


def goodput_curve(found: Goodput, title: str = "How many keep their limits") -> go.Figure:
    """One point for each rate tried: the TTFT limit alone, the TPOT limit alone, all limits."""
    rates = [trial.rate / found.num_gpus for trial in found.trials]
    lines = (
        ("all limits", [trial.both for trial in found.trials], ACCENT, "solid", "circle"),
        ("TTFT alone", [trial.ttft for trial in found.trials], PREFILL, "dot", "square"),
        ("TPOT alone", [trial.tpot for trial in found.trials], DECODE, "dash", "diamond"),
    )
    traces = [
        go.Scatter(
            name=name,
            x=[round(rate, 6) for rate in rates],
            y=[round(share, 5) for share in shares],
            mode="lines+markers",
            line={"color": colour, "width": 5 if dash == "solid" else 2, "dash": dash},
            marker={"size": 13 if dash == "solid" else 8, "symbol": symbol},
            hovertemplate=name + " at %{x:.4~g} requests/s: %{y:.1%}<extra></extra>",
        )
        for name, shares, colour, dash, symbol in lines
    ]
    wanted, label = dashed(found.wanted, f"{found.wanted:.0%}<br>wanted", axis="y")
    shapes, labels = [wanted], [label | {"align": "left"}]
    if found.rate > 0:
        best, text = dashed(found.per_gpu, f"goodput {found.per_gpu:.3g}")
        shapes.append(best)
        labels.append(text)
    per_gpu = " and GPU" if found.num_gpus > 1 else ""
    axes: dict[str, Any] = {"xaxis": {"title": {"text": f"requests per second{per_gpu}"}, "rangemode": "tozero"}}
    axes["yaxis"] = {"title": {"text": "requests within limits"}, "range": [0, 1.04], "tickformat": ".0%"}
    layout = {"margin": {"t": 130, "r": 80}, "legend": {"y": 1.12}}
    return new_figure(traces, title, height=460, shapes=shapes, annotations=labels, **axes, **layout)


def goodput_summary(found: Goodput) -> str:
    """The rate, per GPU, and which limit ends it."""
    if found.rate == 0:
        return f"No rate tried keeps {found.wanted:.0%} within the limits; {_who(found)}"
    head = f"{found.rate:.6g} requests/s keep {found.wanted:.0%} within the limits"
    if found.num_gpus > 1:
        head += f": {found.per_gpu:.3g} per second on each of {found.num_gpus} GPUs"
    if math.isinf(found.miss):
        return f"{head}; no higher rate was worth trying with so few requests."
    return f"{head}; at {found.miss:.6g} {_who(found)}"


def _who(found: Goodput) -> str:
    if not found.limits:
        return "each limit alone would still be kept, both together are not."
    return f"{' and '.join(found.limits)} {'misses' if len(found.limits) == 1 else 'miss'}."
