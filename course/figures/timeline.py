"""Who runs when: a row for each instance, and below them a row for each request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.figures.palette import BY_KIND, CLEAR
from course.figures.spans import KINDS, Kind, Span, instance_spans, spans_by_request
from course.figures.style import new_figure, say_count, say_ms
from course.figures.watch import History
from course.metrics.record import RequestRecord

ROW_PX = 22
MOST_LABELS = 30
FEW_LABELS = 5  # of requests, where their rows are thin and a slider redraws them: every label is measured
STRIDES = tuple(m * 10**n for n in range(6) for m in (1, 2, 5))
_THICKNESS: dict[Kind, float] = {"waiting": 0.5, "prefill": 0.86, "transfer": 0.86, "decode": 0.86}


class Row(NamedTuple):
    """A line of the picture; ``y`` counts downwards in rows."""

    y: float
    label: str


class Bar(NamedTuple):
    """One bar: where, how thick, and what the mouse is told."""

    y: float
    thickness: float
    span: Span
    text: str


def timeline(records: Sequence[RequestRecord], history: History, title: str = "Who runs when") -> go.Figure:
    """A Gantt chart of a run.

    The upper rows show each instance: prompts in its upper half, answers in its lower half, so a step that mixes
    both shows both. The rows below show each request from its arrival to its last token.
    """
    rows, bars = layout_rows(records, history)
    height = 140 + ROW_PX * (len(rows) + len(history.roles))
    axes = timeline_axes(rows)
    return new_figure(timeline_traces(bars), title, height=height, barmode="overlay", **axes)


def timelines(runs: Mapping[str, tuple[Sequence[RequestRecord], History]], title: str = "Who runs when") -> go.Figure:
    """Runs of one instance each, below one another on one time axis; the instance's row has the name of the run."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for name, (records, history) in runs.items():
        top = rows[-1].y + 2.2 if rows else 0.0
        its_rows, its_bars = layout_rows(records, history)
        rows += [Row(top + y, name if label.startswith("worker") else label) for y, label in its_rows]
        bars += [bar._replace(y=top + bar.y) for bar in its_bars]
    inside = (ROW_PX if len(rows) <= MOST_LABELS else ROW_PX // 2) * (len(rows) + 3 * len(runs))
    axes = timeline_axes(rows)
    legend = {"y": 1 + 12 / inside}  # in parts of the height, which differs much
    height = inside + 160  # px of margin
    return new_figure(timeline_traces(bars), title, height=height, barmode="overlay", legend=legend, **axes)


def timelines_summary(runs: Mapping[str, tuple[Sequence[RequestRecord], History]]) -> str:
    """The summaries of the runs by name, a line for each."""
    return "\n".join(f"{name}: {timeline_summary(*run)}" for name, run in runs.items())


def timeline_summary(records: Sequence[RequestRecord], history: History) -> str:
    """How long the run took, how many steps each instance ran, and how much of the time it was busy."""
    if not history.steps:
        return "Nothing ran."
    end_s = max(step.end_s for step in history.steps)
    parts = []
    for instance_id in sorted(history.roles):
        steps = [step for step in history.steps if step.instance_id == instance_id]
        busy = sum(step.end_s - step.start_s for step in steps) / end_s
        num_steps = sum(step.num_steps for step in steps)
        parts.append(f"{worker_label(instance_id, history)} ran {say_count(num_steps, 'step')}, busy {busy:.0%}")
    return f"{say_count(len(records), 'request')} in {say_ms(end_s)}: {'; '.join(parts)}."


def worker_label(instance_id: int, history: History) -> str:
    """'worker 0', with its role where it has a special one."""
    role = history.roles.get(instance_id, "mixed")
    return f"worker {instance_id}" + ("" if role == "mixed" else f" ({role})")


def layout_rows(records: Sequence[RequestRecord], history: History) -> tuple[list[Row], list[Bar]]:
    """Put every span into its row."""
    rows, bars = [], []
    for i, instance_id in enumerate(sorted(history.roles)):
        row = Row(1.9 * i, worker_label(instance_id, history))
        rows.append(row)
        prefill, decode = instance_spans(history.steps, instance_id)
        lanes = ((prefill, row.y - 0.36, 0.7), (decode, row.y + 0.36, 0.7))
        if not (prefill and decode):  # with one kind of work only, a worker needs no lanes
            lanes = ((prefill or decode, row.y, 1.42), ([], row.y, 0.0))
        for spans, y, thickness in lanes:
            bars += [Bar(y, thickness, span, _say(row.label, span)) for span in spans]
    first = 1.9 * len(history.roles)
    for i, (record, spans) in enumerate(zip(records, spans_by_request(records, history), strict=True)):
        label = f"request {record.request_id}" + (f".{record.sample}" if record.sample else "")
        rows.append(Row(first + i, label))
        bars += [Bar(first + i, _THICKNESS[span.kind], span, _say(label, span)) for span in spans]
    return rows, bars


def _say(label: str, span: Span) -> str:
    tokens = f", {say_count(span.num_tokens, 'token')}" if span.num_tokens else ""
    return f"{label}: {span.kind}{tokens}, {say_ms(span.end_s - span.start_s)}"


def timeline_traces(bars: Sequence[Bar], panel: str = "") -> list[dict[str, Any]]:
    """One trace for each kind, always all four, so that a redrawn picture has the same traces."""
    return [_kind_trace(kind, [bar for bar in bars if bar.span.kind == kind], panel) for kind in KINDS]


def _kind_trace(kind: Kind, bars: Sequence[Bar], panel: str) -> dict[str, Any]:
    marker: dict[str, Any] = {"color": BY_KIND[kind], "line": {"width": 0}}
    if kind == "waiting":  # hatched: grey alone is easily taken for a faded colour
        marker["color"] = CLEAR
        marker["pattern"] = {"shape": "/", "size": 5, "solidity": 0.4, "fgcolor": BY_KIND[kind], "fgopacity": 1}
    return {  # a Bar would be checked twice: here and when the figure is made
        "type": "bar",
        "name": kind,
        "orientation": "h",
        "base": [round(bar.span.start_s * 1e3, 3) for bar in bars],
        "x": [round((bar.span.end_s - bar.span.start_s) * 1e3, 3) for bar in bars],
        "y": [round(bar.y, 2) for bar in bars],
        "width": [bar.thickness for bar in bars],
        "hovertext": [bar.text for bar in bars],
        "hoverinfo": "text",
        "marker": marker,
        "xaxis": f"x{panel}",
        "yaxis": f"y{panel}",
        "showlegend": True,
    }


def timeline_axes(rows: Sequence[Row], panel: str = "", most_labels: int = MOST_LABELS) -> dict[str, Any]:
    """Time to the right in ms, rows downwards; of many requests every second, fifth or tenth is labelled."""
    is_request = [row.label.startswith("request") for row in rows]
    every = next(n for n in STRIDES if sum(is_request) <= n * most_labels)
    shown, num_above = [], 0  # requests of the same run: each begins anew
    for row, one in zip(rows, is_request, strict=True):
        if num_above % every == 0 or not one:
            shown.append(row)
        num_above = num_above + 1 if one else 0
    ticks = {"tickvals": [row.y for row in shown], "ticktext": [row.label for row in shown]}
    yaxis = {"range": [max((row.y for row in rows), default=0) + 0.7, -0.9], "showgrid": False, "ticks": "", **ticks}
    yaxis["tickfont"] = {"size": 13}
    return {f"xaxis{panel}": {"title": {"text": "time (ms)"}, "rangemode": "tozero"}, f"yaxis{panel}": yaxis}
