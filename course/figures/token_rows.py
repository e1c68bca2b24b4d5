"""When the tokens of each request came out: a row for each, so that two ways to serve can be compared by eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import DECODE, PREFILL, WAITING
from course.figures.style import new_figure, say_count

Tokens = Sequence[Sequence[float]]
"""For each request the times of its tokens, in seconds."""
KINDS = (("waits", WAITING, "circle-open"), ("first token", PREFILL, "circle"), ("next token", DECODE, "diamond"))


def token_rows(
    runs: Mapping[str, Tokens], arrivals_s: Sequence[float], title: str = "When each token comes out"
) -> go.Figure:
    """A panel for each run, one above the other. Rings are arrivals; a line leads from each to its last token."""
    traces: list[go.Scatter] = []
    layout: dict[str, Any] = {"annotations": []}
    gap, count = 0.14, len(runs)
    height = (1 - gap * (count - 1)) / count
    last_s = max([*arrivals_s, *(time_s for run in runs.values() for row in run for time_s in row)], default=1.0)
    for panel, (name, run) in enumerate(runs.items()):
        suffix = "" if panel == 0 else str(panel + 1)
        traces += _traces(run, arrivals_s, suffix, legend=panel == 0)
        top = 1 - panel * (height + gap)
        axis = {"range": [-0.02 * last_s, 1.04 * last_s], "anchor": f"y{suffix}", "showticklabels": panel == count - 1}
        layout[f"xaxis{suffix}"] = axis | ({"title": {"text": "seconds"}} if panel == count - 1 else {})
        layout[f"yaxis{suffix}"] = {
            "domain": [round(top - height, 4), round(top, 4)],
            "range": [len(arrivals_s) - 0.4, -0.6],
            "tickvals": list(range(len(arrivals_s))),
            "ticktext": [f"request {number}" for number in range(len(arrivals_s))],
            "showgrid": False,
        }
        layout["annotations"].append(
            {
                **{"text": name, "x": 0, "xref": "paper", "xanchor": "left", "showarrow": False},
                **{"y": round(top, 4), "yref": "paper", "yanchor": "bottom", "font": {"size": 15}},
            }
        )
    pixels = 150 + count * (60 + 22 * max(len(arrivals_s), 2))
    legend = {"y": 1 + 34 / (pixels - 150)}
    return new_figure(traces, title, height=pixels, legend=legend, **layout)


def token_rows_summary(runs: Mapping[str, Tokens], arrivals_s: Sequence[float]) -> str:
    """How many tokens each run gives, and when the last one comes."""
    said = []
    for name, run in runs.items():
        times_s = [time_s for row in run for time_s in row]
        end = f", the last at {max(times_s):.4g} s" if times_s else ""
        said.append(f"{name}: {say_count(len(times_s), 'token')} for {say_count(len(arrivals_s), 'request')}{end}")
    return "; ".join(said)


def _traces(run: Tokens, arrivals_s: Sequence[float], panel: str, *, legend: bool) -> list[go.Scatter]:
    """The lines, and one trace for each kind of mark."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    marks: dict[str, list[tuple[float, int]]] = {name: [] for name, _, _ in KINDS}
    for number, (arrival_s, row) in enumerate(zip(arrivals_s, run, strict=False)):
        xs += [arrival_s, max([arrival_s, *row]), None]
        ys += [number, number, None]
        marks["waits"].append((arrival_s, number))
        marks["first token"] += [(time_s, number) for time_s in row[:1]]
        marks["next token"] += [(time_s, number) for time_s in row[1:]]
    axes = {"xaxis": f"x{panel}", "yaxis": f"y{panel}"}
    line = {"color": WAITING, "width": 1.5}
    traces = [go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False, **axes)]
    for name, colour, symbol in KINDS:
        traces.append(
            go.Scatter(
                name="arrives" if name == "waits" else name,
                x=[round(time_s, 6) for time_s, _ in marks[name]],
                y=[number for _, number in marks[name]],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2, "color": colour}},
                hovertemplate="request %{y}: %{x:.4~g} s<extra></extra>",
                showlegend=legend,
                **axes,
            )
        )
    return traces
