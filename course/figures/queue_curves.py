"""Mean TTFT against the rate, by formula and by simulation, and beside it what single prompts see at one rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import SERIES, TEXT
from course.figures.style import dashed, ms, new_figure, say_ms
from course.metrics.statistics import percentile

DASHES, SYMBOLS = ("solid", "dash", "dot"), ("circle", "diamond", "square")
HIGHEST = 6.0
"""The panel ends at so many times the TTFT of the first way without a queue."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to use GPUs.

    ``curve_s`` has the formula's mean TTFT at each rate (infinity where the queue has no end), ``dots`` simulated
    means as (rate, seconds), ``sample_s`` the simulated TTFT of single prompts at the chosen rate (none where the
    queue has no end).
    """

    name: str
    curve_s: Sequence[float]
    dots: Sequence[tuple[float, float]]
    sample_s: Sequence[float]


def queue_curves(
    rates: Sequence[float],
    ways: Sequence[Way],
    rate: float,
    crossover: tuple[float, float] | None = None,
    title: str = "Mean TTFT",
) -> go.Figure:
    """Lines are formulas, marks are simulations; the dashed line is the chosen rate.

    ``crossover`` is (requests per second, seconds) where two lines meet. The right panel has the prompts of the
    simulation at the chosen rate, the quickest first.
    """
    highest_s = HIGHEST * ways[0].curve_s[0]
    traces: list[dict[str, Any]] = []
    for way, colour, dash, symbol in zip(ways, SERIES, DASHES, SYMBOLS, strict=False):
        traces.append(_curve(rates, way, colour, dash, highest_s))
        traces.append(_dots(way, colour, symbol))
    for way, colour, dash in zip(ways, SERIES, DASHES, strict=False):
        traces.append(_prompts(way, colour, dash))
    shape, label = dashed(rate, f"{rate:g}/s")
    notes = [label]
    if crossover is not None and crossover[1] < highest_s:
        notes.append(_note(crossover))
    longest_s = max((percentile(way.sample_s, 95) for way in ways if way.sample_s), default=highest_s)
    axes: dict[str, Any] = {
        "xaxis": {"domain": [0, 0.6], "range": [0, max(rates)], "title": {"text": "requests per second"}},
        "yaxis": {"range": [0, round(1e3 * highest_s, 3)], "title": {"text": "mean TTFT (ms)"}},
        "xaxis2": {"domain": [0.7, 1.0], "anchor": "y2", "range": [0, round(1e3 * longest_s, 3)]},
        "yaxis2": {"anchor": "x2", "range": [0, 1.02], "tickformat": ".0%", "title": {"text": "prompts"}},
    }
    axes["xaxis2"]["title"] = {"text": f"TTFT at {rate:g}/s (ms)"}
    return new_figure(
        traces, title, height=470, shapes=[shape], annotations=notes, margin={"t": 100}, legend={"y": 1.06}, **axes
    )


def queue_curves_summary(
    rates: Sequence[float], ways: Sequence[Way], rate: float, crossover: tuple[float, float] | None = None
) -> str:
    """For each way the simulated mean and 90th percentile at the chosen rate, and where two lines meet."""
    said = []
    for way in ways:
        if not way.sample_s:
            said.append(f"{way.name}: a queue without end")
            continue
        mean_s = sum(way.sample_s) / len(way.sample_s)
        said.append(f"{way.name}: mean TTFT {say_ms(mean_s)}, P90 {say_ms(percentile(sorted(way.sample_s), 90))}")
    meet = f" The formulas of two GPUs cross at {crossover[0]:.3g} per second." if crossover else ""
    return f"At {rate:g} requests per second: {'; '.join(said)}.{meet}"


def _curve(rates: Sequence[float], way: Way, colour: str, dash: str, highest_s: float) -> dict[str, Any]:
    """Up to a little above the panel: beyond, a line that goes to infinity is only a nuisance."""
    points = [
        (rate, mean_s) for rate, mean_s in zip(rates, way.curve_s, strict=True) if mean_s < 2 * highest_s < math.inf
    ]
    return {
        "type": "scatter",
        "name": way.name,
        "x": [round(rate, 4) for rate, _ in points],
        "y": ms(mean_s for _, mean_s in points),
        "mode": "lines",
        "line": {"color": colour, "width": 3, "dash": dash},
        "hovertemplate": way.name + ", formula: %{y:.3~g} ms at %{x:.3~g}/s<extra></extra>",
    }


def _dots(way: Way, colour: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": f"{way.name}, simulated",
        "x": [round(rate, 4) for rate, _ in way.dots],
        "y": ms(mean_s for _, mean_s in way.dots),
        "mode": "markers",
        "marker": {"color": colour, "size": 11, "symbol": symbol, "line": {"width": 0}},
        "hovertemplate": way.name + ", simulated: %{y:.3~g} ms at %{x:.3~g}/s<extra></extra>",
        "showlegend": False,
    }


def _prompts(way: Way, colour: str, dash: str) -> dict[str, Any]:
    """At most 100 points of the distribution."""
    values = sorted(way.sample_s)
    places = range(0, len(values), max(1, len(values) // 100))
    return {
        "type": "scatter",
        "name": way.name,
        "x": ms(values[i] for i in places),
        "y": [round((i + 1) / len(values), 4) for i in places],
        "mode": "lines",
        "line": {"color": colour, "width": 3, "dash": dash, "shape": "hv"},
        "hovertemplate": way.name + ": %{y:.0%} have their first token after %{x:.3~g} ms<extra></extra>",
        "xaxis": "x2",
        "yaxis": "y2",
        "showlegend": False,
    }


def _note(crossover: tuple[float, float]) -> dict[str, Any]:
    rate, mean_s = crossover
    place = {"x": round(rate, 4), "y": round(1e3 * mean_s, 3), "ax": 50, "ay": 36}
    return {**place, "text": "they cross", "showarrow": True, "arrowcolor": TEXT, "arrowwidth": 1.5, "standoff": 8}
