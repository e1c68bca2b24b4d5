"""TTFT and TPOT side by side: what share of the requests was that fast or faster."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import DECODE, PREFILL, SERIES
from course.figures.style import dashed, ms, new_figure, say_ms, seen_apart
from course.metrics import latency as definitions
from course.metrics.record import RequestRecord
from course.metrics.statistics import percentile
from course.workload.slo import SLO

Latency = Callable[[RequestRecord], float | None]


@dataclass(frozen=True, slots=True)
class Latencies:
    """TTFT and TPOT of the finished answers of one run, sorted, in seconds."""

    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]

    @classmethod
    def of(
        cls, records: Sequence[RequestRecord], ttft: Latency = definitions.ttft_s, tpot: Latency = definitions.tpot_s
    ) -> Latencies:
        """Apply a definition of TTFT and one of TPOT (the course's, or a learner's); None stays out."""
        finished = [record for record in records if record.finished]
        values = [[latency(record) for record in finished] for latency in (ttft, tpot)]
        first, per_token = (tuple(sorted(v for v in column if v is not None)) for column in values)
        return cls(first, per_token)


def latency_distributions(
    runs: Mapping[str, Latencies] | Latencies, slo: SLO | None = None, title: str = "What the users felt"
) -> go.Figure:
    """Dots are requests, as far as they can be told apart; the limits of ``slo`` are dashed, crosses lie beyond them.

    One run is drawn in the colours of its phases, TTFT as prefill and TPOT as decode; several runs, given by
    name, in one colour each.
    """
    layout = {**latency_axes(), **latency_limits(slo), "showlegend": not isinstance(runs, Latencies)}
    above = 80 + (24 * len(runs) if not isinstance(runs, Latencies) else 0)  # px for title and legend
    layout |= {"margin": {"t": above}, "legend": {"orientation": "v"}}
    return new_figure(latency_traces(runs, slo), title, height=340 + above, **layout)


def latency_summary(runs: Mapping[str, Latencies] | Latencies, slo: SLO | None = None) -> str:
    """Median and 90th percentile of each, run by run."""
    if isinstance(runs, Latencies):
        return _say(runs)
    return " ".join(f"{name}: {_say(run)}" for name, run in runs.items())


def _say(run: Latencies) -> str:
    parts = []
    for name, values in (("TTFT", run.ttft_s), ("TPOT", run.tpot_s)):
        if values:
            parts.append(f"{name} median {say_ms(percentile(values, 50))}, P90 {say_ms(percentile(values, 90))}")
    return "; ".join(parts) + "." if parts else "no request finished."


def latency_traces(
    runs: Mapping[str, Latencies] | Latencies, slo: SLO | None, *, has_dots: bool = True
) -> list[dict[str, Any]]:
    """Two traces for each run: TTFT in the first panel, TPOT in the second; without dots as thick lines."""
    named = {"": runs} if isinstance(runs, Latencies) else runs
    limits = (slo.ttft_s, slo.tpot_s) if slo else (math.inf, math.inf)
    traces = []
    for i, (name, run) in enumerate(named.items()):
        colours = (PREFILL, DECODE) if isinstance(runs, Latencies) else (SERIES[i % len(SERIES)],) * 2
        for j, values in enumerate((run.ttft_s, run.tpot_s)):
            traces.append(_dots(name, values, limits[j], colours[j], panel=("", "2")[j], legend=bool(name) and j == 0))
    if has_dots:
        return traces
    return [trace | {"mode": "lines", "line": {**trace["line"], "width": 3}} for trace in traces]


def _dots(name: str, values: Sequence[float], limit_s: float, colour: str, panel: str, legend: bool) -> dict[str, Any]:
    """Where requests would lie on one another only one is drawn, but always the first cross and the slowest."""
    total = max(1, len(values))
    shares = [(i + 1) / total for i in range(len(values))]
    shown = set(seen_apart(values, shares, values[-1] or 1.0, 1.0)) if values else set()
    shown |= {bisect_right(values, limit_s), total - 1} & set(range(len(values)))
    places = sorted(shown)
    missed = [values[i] > limit_s for i in places]
    return {  # a Scatter would be checked twice: here and when the figure is made
        "type": "scatter",
        "name": name,
        "legendgroup": name,
        "showlegend": legend,
        "x": ms(values[i] for i in places),
        "y": [round(shares[i], 4) for i in places],
        "mode": "lines+markers",
        "line": {"color": colour, "width": 1.5, "shape": "hv"},
        "marker": {
            "color": colour,
            "size": [11 if m else 8 for m in missed] if any(missed) else 8,
            "symbol": ["x" if m else "circle" for m in missed] if any(missed) else "circle",
            "opacity": 1,
            "line": {"width": 0},
        },
        "hovertemplate": "%{x:.3~g} ms or less: %{y:.0%} of the requests<extra>" + name + "</extra>",
        "xaxis": f"x{panel}",
        "yaxis": f"y{panel}",
    }


def latency_axes(bottom: float = 0.0) -> dict[str, Any]:
    """Axes of the two panels, from ``bottom`` (share of the figure's height) to the top."""
    axes: dict[str, Any] = {}
    for panel, left, right, text in (("", 0.0, 0.46, "TTFT (ms)"), ("2", 0.54, 1.0, "TPOT (ms per token)")):
        axes[f"xaxis{panel}"] = {"domain": [left, right], "anchor": f"y{panel}"}
        axes[f"xaxis{panel}"] |= {"title": {"text": text}, "rangemode": "tozero"}
        axes[f"yaxis{panel}"] = {"domain": [bottom, 1.0], "anchor": f"x{panel}"}
        axes[f"yaxis{panel}"] |= {"range": [0, 1.04], "tickformat": ".0%", "showticklabels": panel == ""}
    axes["yaxis"]["title"] = {"text": "requests"}
    return axes


def latency_limits(slo: SLO | None) -> dict[str, Any]:
    """Dashed lines with labels where the limits are."""
    shapes, annotations = [], []
    for panel, name, limit_s in (("", "TTFT", slo.ttft_s), ("2", "TPOT", slo.tpot_s)) if slo else ():
        if math.isfinite(limit_s):
            shape, label = dashed(round(limit_s * 1e3, 3), f"{name} limit {say_ms(limit_s)}", panel=panel)
            shapes.append(shape)
            annotations.append(label)
    return {"shapes": shapes, "annotations": annotations} if shapes else {}


def latency_bars(names: Sequence[str], seconds: Sequence[float], name: str, colour: str, panel: str) -> dict[str, Any]:
    """A bar for each name: TTFT in s or TPOT in ms, from ``seconds``, with the value in words."""
    scale, unit = (1e3, "ms") if name == "TPOT" else (1.0, "s")
    return {
        "type": "bar",
        "name": name,
        "x": [round(value * scale, 4) for value in seconds],
        "y": names,
        "orientation": "h",
        "marker": {"color": colour},
        "showlegend": False,
        "text": [say_ms(value) for value in seconds],
        "textposition": "auto",
        "hovertemplate": "%{y}: " + name + " %{x:.3~g} " + unit + "<extra></extra>",
        "xaxis": f"x{panel}",
        "yaxis": f"y{panel}",
    }
