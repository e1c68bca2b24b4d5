"""What a token budget does to TTFT, TPOT and the longest gap; and one run of it, with its stalls marked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log10
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.figures.overview import HEIGHT, MARGIN
from course.figures.palette import DECODE, PREFILL, TEXT, WRONG
from course.figures.style import dashed, new_figure, say_count, say_ms, steps_for_ticks
from course.figures.timeline import FEW_LABELS, Row, layout_rows, timeline_axes, timeline_traces
from course.figures.watch import History
from course.metrics.record import RequestRecord


class BudgetPoint(NamedTuple):
    """What the users felt with a budget (tokens a step), in seconds: median TTFT of long and of short prompts, median
    TPOT, and the longest gap between two tokens of an answer."""

    budget: int
    long_ttft_s: float
    short_ttft_s: float
    tpot_s: float
    gap_s: float


def budget_overview(
    points: Sequence[BudgetPoint],
    chosen: int,
    records: Sequence[RequestRecord],
    history: History,
    limit_s: float,
    best: int | None = None,
) -> go.Figure:
    """TTFT on the left, TPOT and the longest gap on the right, over the budget; below, the run of the ``chosen`` one.

    ``limit_s`` is the limit on a gap: longer ones are red in the run. ``best`` is the budget to mark as the largest
    that keeps it.
    """
    rows, bars = layout_rows(records, history)
    x = [point.budget for point in points]
    traces: list[Any] = [
        _curve("long prompts", x, [p.long_ttft_s for p in points], PREFILL, "", "solid", chosen),
        _curve("short prompts", x, [p.short_ttft_s for p in points], PREFILL, "", "dot", chosen),
        _curve("TPOT", x, [p.tpot_s for p in points], DECODE, "2", "solid", chosen),
        _curve("longest gap", x, [p.gap_s for p in points], WRONG, "2", "solid", chosen),
        *timeline_traces(bars, "3"),
        stall_trace(records, rows, limit_s, "3"),
    ]
    axes: dict[str, Any] = {}
    for panel, left, right, text in (("", 0.0, 0.44, "TTFT, median (ms)"), ("2", 0.56, 1.0, "between tokens (ms)")):
        ticks = {"tickvals": x, "ticktext": steps_for_ticks(x), "type": "log"}
        axes[f"xaxis{panel}"] = {
            "domain": [left, right],
            "anchor": f"y{panel}",
            "title": {"text": "token budget"},
            **ticks,
        }
        axes[f"yaxis{panel}"] = {"domain": [0.66, 1.0], "anchor": f"x{panel}", "title": {"text": text}, "type": "log"}
        axes[f"yaxis{panel}"] |= {"tickformat": "~s", "nticks": 4, "dtick": "D2"}
    axes |= timeline_axes(rows, "3", FEW_LABELS)
    axes["xaxis3"] |= {"anchor": "y3"}
    axes["yaxis3"] |= {"anchor": "x3", "domain": [0.0, 0.46]}
    for axis in (name for name in axes if name[1:].startswith("axis")):
        axes[axis] = {**axes[axis], "automargin": False}
    line, label = dashed(round(limit_s * 1e3, 3), "limit", axis="y", panel="2")
    shapes, annotations = [line], [{**label, "y": round(log10(limit_s * 1e3), 4)}]  # a label's place is a logarithm
    if best is not None:
        mark, _ = dashed(best, "", panel="2")
        shapes.append({**mark, "line": {**mark["line"], "color": TEXT, "width": 1}})
    layout = {"shapes": shapes, "annotations": annotations, "legend": {"y": 0.5, "yanchor": "bottom"}}
    return new_figure(traces, "", height=HEIGHT, barmode="overlay", margin={**MARGIN, "r": 60}, **layout, **axes)


def budget_summary(
    points: Sequence[BudgetPoint],
    chosen: int,
    records: Sequence[RequestRecord],
    history: History,
    limit_s: float,
    best: int | None = None,
) -> str:
    """The chosen budget in numbers, and the largest that keeps the limit."""
    point = next(point for point in points if point.budget == chosen)
    num = sum(len(stalls) for stalls in _stalls(records, limit_s))
    kept = f"the largest that keeps it: {best:,}" if best else "none keeps it"
    return (
        f"Budget {chosen:,}: TTFT of long prompts {say_ms(point.long_ttft_s)}, of short ones "
        f"{say_ms(point.short_ttft_s)}; TPOT {say_ms(point.tpot_s)}, longest gap {say_ms(point.gap_s)}. "
        f"{say_count(num, 'gap').replace('0 gaps', 'No gap')} longer than {say_ms(limit_s)}; {kept}."
    )


def stall_trace(
    records: Sequence[RequestRecord], rows: Sequence[Row], limit_s: float, panel: str = ""
) -> dict[str, Any]:
    """A red line in a request's row for each gap between its tokens that is longer than ``limit_s``."""
    heights = [row.y for row in rows if row.label.startswith("request")]
    x: list[float | None] = []
    y: list[float | None] = []
    for height, stalls in zip(heights, _stalls(records, limit_s), strict=True):
        for start_s, end_s in stalls:
            x += [round(1e3 * start_s, 2), round(1e3 * end_s, 2), None]
            y += [round(height, 2), round(height, 2), None]
    return {
        "type": "scatter",
        "name": "stall",
        "x": x or [None],
        "y": y or [None],
        "mode": "lines",
        "line": {"color": WRONG, "width": 4},
        "hoverinfo": "skip",
        "xaxis": f"x{panel}",
        "yaxis": f"y{panel}",
        "showlegend": True,
    }


def _stalls(records: Sequence[RequestRecord], limit_s: float) -> list[list[tuple[float, float]]]:
    return [[(a, b) for a, b in pairwise(record.token_times_s) if b - a > limit_s] for record in records]


def _curve(
    name: str, x: Sequence[int], seconds: Sequence[float], colour: str, panel: str, dash: str, chosen: int
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": name,
        "x": list(x),
        "y": [round(1e3 * value, 2) for value in seconds],
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"color": colour, "size": [15 if budget == chosen else 7 for budget in x]},
        "hovertemplate": "budget %{x}: %{y:.3~g} ms<extra>" + name + "</extra>",
        "xaxis": f"x{panel}",
        "yaxis": f"y{panel}",
    }
