"""The timeline of a run as a page of its own: one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from course.figures.page import html_page
from course.figures.timeline import timeline, timeline_summary
from course.figures.watch import History
from course.metrics.record import RequestRecord

_HEAD_PX = 150  # title, legend, time axis: above the rows, where a long page is read first


def timeline_page(records: Sequence[RequestRecord], history: History, title: str) -> str:
    """HTML: the timeline with its axis on top, and a sentence that sums it up. It follows the reader's theme."""
    figure = with_head(timeline(records, history, title))
    return html_page(title, [figure], timeline_summary(records, history))


def with_head(figure: go.Figure) -> go.Figure:
    """Title, legend and time axis at a fixed distance above the rows, however many there are."""
    rows_px = figure.layout.height - 140
    height = rows_px + _HEAD_PX + 20
    figure.update_layout(
        height=height,
        margin={"t": _HEAD_PX, "b": 20},
        title={"y": 1 - 15 / height, "yanchor": "top"},
        legend={"y": 1 + 60 / rows_px, "yanchor": "bottom"},
        xaxis={"side": "top"},
    )
    return figure
