"""What all figures share. Every one is made by `new_figure`, so that it reads well in both themes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import CLEAR, GRID, SERIES, TEXT

FONT_SIZE = 16  # px: legible from the last row
PANEL_PX = (400, 280)  # about the size of one of two panels
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_AXIS = {
    "gridcolor": GRID,
    "linecolor": TEXT,
    "showline": True,
    "ticks": "outside",
    "tickcolor": TEXT,
    "zeroline": False,
    "automargin": True,
    "ticklabeloverflow": "allow",  # to find labels beyond the edge is a third of a redraw; none is there
    "title": {"standoff": 8},
}

TEMPLATE = go.layout.Template(
    layout={
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"family": FONT, "size": FONT_SIZE, "color": TEXT},
        "title": {"font": {"size": 20}, "x": 0, "xref": "paper", "xanchor": "left", "y": 0.98, "yanchor": "top"},
        "colorway": list(SERIES),
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "y": 1.08, "xanchor": "left", "yanchor": "bottom"},
        "margin": {"l": 70, "r": 50, "t": 100, "b": 60},
        "hoverlabel": {"font": {"size": 14}},
        "modebar": {
            "bgcolor": CLEAR,
            "color": TEXT,
            "activecolor": SERIES[0],
            "remove": ["lasso", "select", "autoscale", "zoomin", "zoomout"],
        },
    }
)

is_checked = False
"""Whether plotly checks each name and value of a figure: the tests switch it on; under a slider it takes too long."""


def new_figure(traces: Iterable[Any], title: str, *, height: int = 420, **layout: Any) -> go.Figure:
    """A figure of the course's looks: ``height`` in pixels, as wide as the page; ``layout`` as plotly has it."""
    frame = {"template": TEMPLATE, "title": {"text": title}, "height": height}
    if not title:
        frame["margin"] = {"t": 40}
    return go.Figure(list(traces), {**frame, **layout}, _validate=is_checked)


def ms(seconds: Iterable[float]) -> list[float]:
    """Milliseconds, rounded to a microsecond: figures stay small and alike on every machine."""
    return [round(second * 1e3, 3) for second in seconds]


def seen_apart(
    x: Sequence[float], y: Sequence[float], width: float, height: float, *, apart_px: float = 4
) -> list[int]:
    """Which of many points are worth a mark: of those that fall into one square of ``apart_px``, only the first.

    A mark is 8 pixels wide, and a redraw takes as long as it has marks. ``width`` and ``height`` are what the axes of
    a panel show.
    """
    columns, rows = (px / apart_px / shown for px, shown in zip(PANEL_PX, (width, height), strict=True))
    first: dict[tuple[int, int], int] = {}
    for i, (at_x, at_y) in enumerate(zip(x, y, strict=True)):
        first.setdefault((int(at_x * columns), int(at_y * rows)), i)
    return list(first.values())


def say_ms(seconds: float) -> str:
    """A duration for a sentence: in ms, with two significant digits below 10; from 10 s on in seconds."""
    value = seconds * 1e3
    if value >= 10_000:
        return f"{seconds:,.1f} s"
    return f"{value:.2g} ms" if value < 9.95 else f"{value:,.0f} ms"


def say_count(number: int, noun: str) -> str:
    """'1 request', '2 requests'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def steps_for_ticks(values: Sequence[float]) -> list[str]:
    """Short labels for powers of two: 512, 1k, 128k."""
    return [f"{value / 1024:g}k" if value >= 1024 else f"{value:g}" for value in values]


def dashed(at: float, text: str, *, axis: str = "x", panel: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """A dashed line across a panel at x (or, with axis="y", at y), and its label: a shape and an annotation."""
    across, along = ("y", "x") if axis == "x" else ("x", "y")
    line = {"color": TEXT, "width": 2, "dash": "dash"}
    shape = {"type": "line", f"{along}0": at, f"{along}1": at, f"{across}0": 0, f"{across}1": 1, "line": line}
    place = {f"{along}ref": f"{along}{panel}", f"{across}ref": f"{across}{panel} domain"}
    label = {"text": text, along: at, across: 1.0, "showarrow": False, "font": {"size": FONT_SIZE - 2}}
    # Outside of the panel, where no data is.
    anchors = {"xanchor": "center", "yanchor": "bottom"} if axis == "x" else {"xanchor": "left", "yanchor": "middle"}
    return {**shape, **place}, {**label, **place, **anchors}
