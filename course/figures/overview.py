"""A whole run in one picture: TTFT and TPOT above, who ran when below."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from course.figures.latency import (
    Latencies,
    Latency,
    latency_axes,
    latency_limits,
    latency_summary,
    latency_traces,
)
from course.figures.style import new_figure
from course.figures.timeline import FEW_LABELS, layout_rows, timeline_axes, timeline_summary, timeline_traces
from course.figures.watch import History
from course.metrics.latency import tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.workload.slo import SLO

MARGIN = {"l": 150, "r": 30, "t": 40, "b": 60}  # px: the names of workers and requests fit in
HEIGHT = 860  # px, fixed: a picture that changes its height under a slider makes the page jump


def serving_overview(
    records: Sequence[RequestRecord],
    history: History,
    slo: SLO | None = None,
    title: str = "",
    *,
    ttft: Latency = ttft_s,
    tpot: Latency = tpot_s,
) -> go.Figure:
    """Distributions of TTFT and TPOT over the timeline of the run that made them.

    ``ttft`` and ``tpot`` may be a learner's own functions of a record.
    """
    rows, bars = layout_rows(records, history)
    traces = [*latency_traces(Latencies.of(records, ttft, tpot), slo), *timeline_traces(bars, "3")]
    axes = {**latency_axes(bottom=0.68), **timeline_axes(rows, "3", FEW_LABELS), **latency_limits(slo)}
    axes["xaxis3"] |= {"anchor": "y3"}
    axes["yaxis3"] |= {"anchor": "x3", "domain": [0.0, 0.5]}
    for axis in (name for name in axes if name[1:].startswith("axis")):
        axes[axis] = {**axes[axis], "automargin": False}  # measuring the labels of six axes doubles a redraw's time
    legend = {"y": 0.51, "yanchor": "bottom"}
    return new_figure(traces, title, height=HEIGHT, barmode="overlay", legend=legend, margin=MARGIN, **axes)


def serving_summary(records: Sequence[RequestRecord], history: History, slo: SLO | None = None) -> str:
    """The latencies, then what the workers did."""
    return f"{latency_summary(Latencies.of(records), slo)} {timeline_summary(records, history)}"
