"""Turn a figure that is on the screen into another one by changing only what differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go


def redraw(shown: go.Figure, fresh: go.Figure) -> None:
    """Make ``shown`` (a FigureWidget) look like ``fresh``, in one message to the browser.

    Where traces are as many and of the same types as before, only properties that differ are sent; else all
    traces are replaced.
    """
    with shown.batch_update():
        if [trace.type for trace in shown.data] == [trace.type for trace in fresh.data]:
            for old, new in zip(shown.data, fresh.data, strict=True):
                _update(old, old.to_plotly_json(), new.to_plotly_json())
        _update(shown.layout, _layout(shown), _layout(fresh))
    if [trace.type for trace in shown.data] != [trace.type for trace in fresh.data]:
        shown.data = []
        shown.add_traces(fresh.data)


def _layout(figure: go.Figure) -> dict[str, Any]:
    layout = figure.layout.to_plotly_json()
    layout.pop("template", None)  # the same for all figures of the course
    return layout


def _update(target: Any, old: dict[str, Any], new: dict[str, Any]) -> None:
    before, after = dict(_leaves(old)), dict(_leaves(new))
    for path in before.keys() - after.keys():
        if path not in ("uid", "type"):
            target[path] = None
    for path, value in after.items():
        if path not in before or before[path] != value:
            target[path] = value


def _leaves(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """('marker.color', value), ... Lists, also of objects, are changed as a whole."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
