"""Each request as a dot, TTFT against TPOT, and how many keep their limits as the rate rises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import ACCENT, DECODE, PREFILL, TEXT, WRONG
from course.figures.style import dashed, ms, new_figure, say_ms, seen_apart
from course.workload.slo import SLO


@dataclass(frozen=True, slots=True)
class Cloud:
    """The requests of one run at ``rate`` requests/s: TTFT and TPOT of those that finished, in seconds."""

    rate: float
    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    num_failed: int = 0


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares of requests that keep the TTFT limit, the TPOT limit and both, at each rate; the goodput found there."""

    rates: tuple[float, ...]
    ttft: tuple[float, ...]
    tpot: tuple[float, ...]
    both: tuple[float, ...]
    goodput: float


KINDS = (
    ("keeps both", ACCENT, "circle", 8),
    ("TTFT too long", PREFILL, "square", 8),
    ("TPOT too long", DECODE, "diamond", 9),
    ("both too long", WRONG, "x", 8),
)


def slo_cloud(cloud: Cloud, slo: SLO, curve: Curve, title: str = "Who keeps the limits") -> go.Figure:
    """Left: requests as dots, where they can be told apart, and the corner in which they are good.

    Right: attainment against the rate.
    """
    shapes, notes = _marks(cloud, slo, curve)
    shortest_s = min((*cloud.ttft_s, slo.ttft_s / 2))
    low, high = _log_ms(shortest_s / 1.3), _log_ms(1.3 * max((*cloud.ttft_s, 1.2 * slo.ttft_s)))
    highest = round(1.08e3 * max((*cloud.tpot_s, 1.2 * slo.tpot_s)), 1)
    traces = [*_dots(cloud, slo, high - low, highest), *_lines(curve)]
    axes: dict[str, Any] = {
        "xaxis": {"domain": [0, 0.44], "type": "log", "title": {"text": "TTFT (ms)"}, "tickformat": "~s", "dtick": 1},
        "yaxis": {"title": {"text": "TPOT (ms)"}, "range": [0, highest]},
        "xaxis2": {
            "domain": [0.58, 1],
            "anchor": "y2",
            "title": {"text": "requests per second"},
            "rangemode": "tozero",
        },
        "yaxis2": {"anchor": "x2", "range": [0, 1.04], "tickformat": ".0%"},
    }
    axes["xaxis"]["range"] = [low, high]
    layout = {"margin": {"t": 150, "r": 75}, "legend": {"y": 1.14}}
    return new_figure(traces, title, height=500, shapes=shapes, annotations=notes, **axes, **layout)


def slo_cloud_summary(cloud: Cloud, slo: SLO, curve: Curve) -> str:
    """How many are good at this rate, what the others miss, and the goodput."""
    kinds = [_kind(ttft, tpot, slo) for ttft, tpot in zip(cloud.ttft_s, cloud.tpot_s, strict=True)]
    total = max(1, len(kinds) + cloud.num_failed)
    shares = [kinds.count(i) / total for i in range(4)]
    said = f"At {cloud.rate:g} requests/s {shares[0]:.0%} keep both limits"
    misses = [
        f"{share:.0%} miss {name}" for share, name in zip(shares[1:], ("TTFT", "TPOT", "both"), strict=True) if share
    ]
    head = f"{said}{' (' + ', '.join(misses) + ')' if misses else ''}."
    return f"{head} Goodput: {curve.goodput:g} requests/s with {slo.attainment:.0%} within the limits."


def _kind(ttft_s: float, tpot_s: float, slo: SLO) -> int:
    return (ttft_s > slo.ttft_s) + 2 * (tpot_s > slo.tpot_s)


def _dots(cloud: Cloud, slo: SLO, width: float, height: float) -> list[dict[str, Any]]:
    """The four kinds; the axes show ``width`` powers of ten and ``height`` ms."""
    traces = []
    for i, (name, colour, symbol, size) in enumerate(KINDS):
        pairs = zip(cloud.ttft_s, cloud.tpot_s, strict=True)
        mine = [(ttft, tpot) for ttft, tpot in pairs if _kind(ttft, tpot, slo) == i]
        seen = seen_apart([_log_ms(ttft) for ttft, _ in mine], ms(tpot for _, tpot in mine), width, height, apart_px=8)
        chosen = [mine[place] for place in seen]
        traces.append(
            {  # a Scatter would be checked twice: here and when the figure is made
                "type": "scatter",
                "name": name,
                "x": ms(ttft for ttft, _ in chosen),
                "y": ms(tpot for _, tpot in chosen),
                "mode": "markers",
                "marker": {"color": colour, "symbol": symbol, "size": size, "opacity": 0.85},
                "hovertemplate": "TTFT %{x:.3~g} ms, TPOT %{y:.3~g} ms<extra>" + name + "</extra>",
            }
        )
    return traces


def _lines(curve: Curve) -> list[dict[str, Any]]:
    lines = (
        ("both", curve.both, ACCENT, "solid", 4),
        ("TTFT alone", curve.ttft, PREFILL, "dot", 2),
        ("TPOT alone", curve.tpot, DECODE, "dash", 2),
    )
    return [
        {
            "type": "scatter",
            "name": name,
            "x": list(curve.rates),
            "y": [round(share, 4) for share in shares],
            "mode": "lines",
            "line": {"color": colour, "width": width, "dash": dash},
            "hovertemplate": name + " at %{x:g} requests/s: %{y:.0%}<extra></extra>",
            "xaxis": "x2",
            "yaxis": "y2",
        }
        for name, shares, colour, dash, width in lines
    ]


def _marks(cloud: Cloud, slo: SLO, curve: Curve) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    corner = {"type": "rect", "x0": 1e-3, "x1": round(1e3 * slo.ttft_s, 3), "y0": 0, "y1": round(1e3 * slo.tpot_s, 3)}
    corner |= {"fillcolor": "rgba(0, 158, 115, 0.12)", "line": {"color": TEXT, "width": 2, "dash": "dash"}}
    goal, goal_label = dashed(slo.attainment, f"{slo.attainment:.0%}<br>wanted", axis="y", panel="2")
    shapes, notes = [corner | {"layer": "below"}, goal], [goal_label | {"align": "left"}]
    limits = f"good: TTFT up to {say_ms(slo.ttft_s)}, TPOT up to {say_ms(slo.tpot_s)}"
    place = {"x": 0, "y": 1.0, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    notes.append({"text": limits, "showarrow": False, "font": {"size": 14}, **place})
    if curve.goodput > 0:
        best, label = dashed(curve.goodput, f"goodput {curve.goodput:g}", panel="2")
        shapes.append(best)
        notes.append(label)
    here = {"type": "line", "x0": cloud.rate, "x1": cloud.rate, "y0": 0, "y1": 1, "yref": "y2 domain", "xref": "x2"}
    shapes.append(here | {"line": {"color": TEXT, "width": 8}, "opacity": 0.25, "layer": "below"})
    return shapes, notes


def _log_ms(seconds: float) -> float:
    return round(math.log10(max(1e3 * seconds, 1e-3)), 3)
