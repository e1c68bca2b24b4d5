"""Nodes and GPUs, and which stage of which instance stands where."""

from __future__ import annotations

import plotly.graph_objects as go

from course.figures.palette import DECODE, PREFILL, WAITING
from course.figures.style import FONT_SIZE, new_figure, say_count
from course.simulator.placement.layout import Layout, Slot

_ROLES = {"prefill": PREFILL, "decode": DECODE}
_INSET = 0.06  # white between neighbours


def placement_map(layout: Layout, title: str = "Which GPU does what") -> go.Figure:
    """One row for each node, one square for each GPU: P0.1 is stage 1 of prefill instance 0; hatched ones are idle."""
    traces = [_squares(layout, role, colour) for role, colour in _ROLES.items()]
    traces.append(_squares(layout, None, WAITING))
    num_nodes, per_node = len(layout.nodes), len(layout.nodes[0])
    labels = [
        {
            "text": f"<b>{slot}</b>",
            "x": gpu,
            "y": node,
            "showarrow": False,
            "font": {"size": FONT_SIZE, "color": "#FFFFFF"},
        }
        for node, row in enumerate(layout.nodes)
        for gpu, slot in enumerate(row)
        if slot
    ]
    xaxis = {"title": {"text": "GPU of the node"}, "dtick": 1, "showgrid": False, "range": [-0.5, per_node - 0.5]}
    yaxis = {"title": {"text": "node"}, "dtick": 1, "showgrid": False, "range": [num_nodes - 0.5, -0.5]}
    return new_figure(
        [trace for trace in traces if trace.x],
        title,
        height=200 + 70 * num_nodes,
        xaxis=xaxis,
        yaxis=yaxis,
        annotations=labels,
        legend={"y": 1.02},
    )


def placement_summary(layout: Layout) -> str:
    """How many instances of each role, and how many GPUs are left."""
    parts = [say_count(layout.count(role), f"{role} instance") for role in _ROLES if layout.count(role)]
    num_gpus = sum(len(node) for node in layout.nodes)
    where = f"{say_count(num_gpus, 'GPU')} in {say_count(len(layout.nodes), 'node')}"
    return f"{' and '.join(parts) or 'Nothing'} on {where}; {layout.num_idle or 'none'} idle."


def _squares(layout: Layout, role: str | None, colour: str) -> go.Scatter:
    """All GPUs of a role (None: idle) as closed outlines in one trace."""
    x: list[float | None] = []
    y: list[float | None] = []
    for node, row in enumerate(layout.nodes):
        for gpu, slot in enumerate(row):
            if _role(slot) == role:
                low, high, top, bottom = (
                    gpu - 0.5 + _INSET,
                    gpu + 0.5 - _INSET,
                    node - 0.5 + _INSET,
                    node + 0.5 - _INSET,
                )
                x += [low, high, high, low, low, None]
                y += [top, top, bottom, bottom, top, None]
    pattern = {} if role else {"fillpattern": {"shape": "/", "fgcolor": colour, "solidity": 0.3}}
    return go.Scatter(
        name=role or "idle",
        x=x,
        y=y,
        mode="lines",
        fill="toself",
        fillcolor=colour if role else "rgba(0, 0, 0, 0)",
        line={"color": colour, "width": 1},
        hoverinfo="skip",
        **pattern,
    )


def _role(slot: Slot | None) -> str | None:
    return slot.role if slot else None
