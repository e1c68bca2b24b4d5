"""Prefill and decode together or on workers of their own: what users feel, what they wait for, who works when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from course.figures.latency import Latencies, latency_axes, latency_traces
from course.figures.palette import BY_KIND, CLEAR
from course.figures.spans import KINDS, Kind, Span, instance_spans
from course.figures.style import new_figure, say_ms
from course.figures.timeline import Bar, timeline_traces
from course.figures.watch import History
from course.metrics.record import RequestRecord

HEIGHT = 880  # px, fixed: a picture that changes its height under a slider makes the page jump
MARGIN = {"l": 200, "r": 30, "t": 40, "b": 60}


class Toll(NamedTuple):
    """Seconds that one token of a request was waited for, by what happened meanwhile."""

    waiting: float = 0.0
    prefill: float = 0.0
    transfer: float = 0.0
    decode: float = 0.0


class Served(NamedTuple):
    """A run: its requests, who did what, and for each request the toll of its first and of its second token."""

    records: Sequence[RequestRecord]
    history: History
    first: Sequence[Toll]
    second: Sequence[Toll]


def mean_toll(tolls: Sequence[Toll]) -> Toll:
    """The mean of each part; parts of the mean wait add up to the mean wait."""
    return Toll(*np.mean([tuple(toll) for toll in tolls], axis=0).tolist()) if tolls else Toll()


def together_apart(runs: Mapping[str, Served], title: str = "") -> go.Figure:
    """TTFT and TPOT of every request; where the mean first and second token come from; who works when."""
    felt = {name: Latencies.of(run.records) for name, run in runs.items()}
    rows = list(_rows(runs))
    when = timeline_traces([bar for _, bars in rows for bar in bars], "4")
    # The tolls have the same colours, and are in the legend.
    traces = [
        *latency_traces(felt, None, has_dots=False),
        *_toll_traces(runs),
        *(trace | {"showlegend": False} for trace in when),
    ]
    axes = latency_axes(bottom=0.72)
    for panel, field in (("", "ttft_s"), ("2", "tpot_s")):
        longest_s = max((max(getattr(run, field), default=0.0) for run in felt.values()), default=0.0)
        axes[f"xaxis{panel}"]["range"] = [0, round(1.04e3 * longest_s, 3) or 1]
        axes[f"yaxis{panel}"]["dtick"] = 0.25
    labels = [label for label, _ in _toll_rows(runs)]
    axes["xaxis3"] = {"anchor": "y3", "title": {"text": "mean wait (ms)"}, "rangemode": "tozero"}
    axes["yaxis3"] = {"anchor": "x3", "domain": [0.36, 0.56], "showgrid": False, "ticks": ""}
    axes["yaxis3"] |= {"range": [len(labels) - 0.4, -0.6], "tickvals": list(range(len(labels))), "ticktext": labels}
    axes["xaxis4"] = {"anchor": "y4", "title": {"text": "time (ms)"}, "rangemode": "tozero"}
    axes["yaxis4"] = {"anchor": "x4", "domain": [0.0, 0.26], "showgrid": False, "ticks": ""}
    axes["yaxis4"] |= {"range": [len(rows) - 0.4, -0.6], "tickvals": list(range(len(rows)))}
    axes["yaxis4"]["ticktext"] = [label for label, _ in rows]
    for axis in (name for name in axes if name[1:].startswith("axis")):
        # Eight axes: to measure their labels doubles a redraw's time, and each label takes its own.
        axes[axis] = {"nticks": 6, **axes[axis], "automargin": False}
    legend = {"y": 0.575, "yanchor": "bottom"}
    return new_figure(traces, title, height=HEIGHT, barmode="stack", legend=legend, margin=MARGIN, **axes)


def together_apart_summary(runs: Mapping[str, Served]) -> str:
    """Medians of TTFT and TPOT, the longest gap, and the mean toll of a transfer."""
    said = []
    for name, run in runs.items():
        felt = Latencies.of(run.records)
        gap_s = max(b - a for r in run.records for a, b in pairwise(r.token_times_s))
        moved_s = mean_toll(run.first).transfer + mean_toll(run.second).transfer
        toll = f", transfer {say_ms(moved_s)}" if run.history.moves else ""
        ttft, tpot = (say_ms(float(np.median(values))) for values in (felt.ttft_s, felt.tpot_s))
        said.append(f"{name}: TTFT {ttft}, TPOT {tpot} (medians), longest gap {say_ms(gap_s)}{toll}.")
    return " ".join(said)


def _toll_rows(runs: Mapping[str, Served]) -> list[tuple[str, Toll]]:
    """Two bars for each run."""
    firsts = [(f"first token, {name}", mean_toll(run.first)) for name, run in runs.items()]
    return firsts + [(f"second token, {name}", mean_toll(run.second)) for name, run in runs.items()]


def _toll_traces(runs: Mapping[str, Served]) -> list[dict[str, Any]]:
    rows = _toll_rows(runs)
    return [_toll_trace(kind, [getattr(toll, kind) for _, toll in rows]) for kind in KINDS]


def _toll_trace(kind: Kind, seconds: Sequence[float]) -> dict[str, Any]:
    marker: dict[str, Any] = {"color": BY_KIND[kind], "line": {"width": 0}}
    if kind == "waiting":
        marker["color"] = CLEAR
        marker["pattern"] = {"shape": "/", "size": 5, "solidity": 0.4, "fgcolor": BY_KIND[kind], "fgopacity": 1}
    return {  # a Bar would be checked twice: here and when the figure is made
        "type": "bar",
        "name": kind,
        "orientation": "h",
        "x": [round(1e3 * value, 3) for value in seconds],
        "y": list(range(len(seconds))),
        "width": 0.62,
        "hovertemplate": "%{x:.3~g} ms<extra>" + kind + "</extra>",
        "marker": marker,
        "xaxis": "x3",
        "yaxis": "y3",
    }


def _rows(runs: Mapping[str, Served]) -> list[tuple[str, list[Bar]]]:
    """A row for each worker, and one for what is on its way between two."""
    rows: list[tuple[str, list[Bar]]] = []
    for name, run in runs.items():
        for number, (instance_id, role) in enumerate(sorted(run.history.roles.items()), 1):
            label = f"{name}, {'worker ' + str(number) if role == 'mixed' else role}"
            prefill, decode = instance_spans(run.history.steps, instance_id)
            both = [(0.62, 0.0, prefill or decode)] if not (prefill and decode) else []
            lanes = both or [(0.3, -0.16, prefill), (0.3, 0.16, decode)]
            at = len(rows)
            bars = [Bar(at + y, wide, span, f"{label}: {span.kind}") for wide, y, spans in lanes for span in spans]
            rows.append((label, bars))
        if run.history.moves:
            rows.append((f"{name}, on its way", _move_bars(run.history, len(rows))))
    return rows


def _move_bars(history: History, row: int) -> list[Bar]:
    """From the end of a prefill until its blocks are there; those that wait for the link overlap."""
    spans = [(move, Span(move.start_s, move.end_s, "transfer")) for move in history.moves]
    return [
        Bar(
            row, 0.62, span, f"request {move.request_id}: {move.num_blocks} blocks, {say_ms(span.end_s - span.start_s)}"
        )
        for move, span in spans
        if span.end_s > span.start_s
    ]
