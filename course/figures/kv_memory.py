"""What fills a GPU's memory, and how many sequences fit beside the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import ACCENT, DECODE, WAITING
from course.figures.style import dashed, new_figure, say_count, steps_for_ticks

GIB = 2**30
CONTEXTS = tuple(2**k for k in range(7, 18))


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory of one replica: all sizes in bytes, over all its GPUs together."""

    total_bytes: float
    weight_bytes: float
    kv_bytes_per_token: float

    @property
    def free_bytes(self) -> float:
        """What the weights leave; 0 where they do not even fit."""
        return max(0.0, self.total_bytes - self.weight_bytes)

    def kv_bytes(self, context: int, batch: int) -> float:
        """Keys and values of ``batch`` sequences of ``context`` tokens each."""
        return self.kv_bytes_per_token * context * batch

    def num_sequences(self, context: int) -> int:
        """How many sequences of that length fit beside the weights."""
        return math.floor(self.free_bytes / (self.kv_bytes_per_token * context))


def kv_memory(use: MemoryUse, context: int, batch: int, title: str = "What fills the memory") -> go.Figure:
    """Left: weights and KV of this batch against the memory there is. Right: how many sequences fit."""
    traces = [*_memory_bars(use, context, batch), *_fit_traces(use, context, batch)]
    shape, label = dashed(round(use.total_bytes / GIB, 2), f" memory:<br> {use.total_bytes / GIB:.0f} GiB", axis="y")
    needed = (use.weight_bytes + use.kv_bytes(context, batch)) / GIB
    axes: dict[str, Any] = {
        "xaxis": {"domain": [0.0, 0.24], "anchor": "y", "showticklabels": False, "ticks": "", "range": [-0.6, 0.6]},
        "yaxis": {"title": {"text": "GiB"}, "range": [0, round(1.15 * max(use.total_bytes / GIB, needed), 2)]},
        "xaxis2": {"domain": [0.42, 1.0], "anchor": "y2", "title": {"text": "context (tokens)"}, "type": "log"},
        "yaxis2": {"title": {"text": "sequences that fit"}, "anchor": "x2", "type": "log", "dtick": 1},
    }
    axes["xaxis2"] |= {"tickvals": CONTEXTS[::2], "ticktext": steps_for_ticks(CONTEXTS[::2])}
    return new_figure(
        traces,
        title,
        height=460,
        barmode="stack",
        bargap=0.3,
        shapes=[shape],
        annotations=[label | {"align": "left"}],
        legend={"traceorder": "normal"},
        **axes,
    )


def kv_memory_summary(use: MemoryUse, context: int, batch: int) -> str:
    """KV bytes per token and per sequence, and how many sequences fit."""
    per_token = use.kv_bytes_per_token / 1024
    needed, free = use.kv_bytes(context, batch) / GIB, use.free_bytes / GIB
    fits = use.num_sequences(context)
    verdict = "fit" if batch <= fits else "do NOT fit"
    return (
        f"{per_token:,.0f} KiB of KV per token; {say_count(batch, 'sequence')} of {context:,} tokens need "
        f"{needed:,.{1 if needed >= 10 else 2}f} GiB and {verdict} into the {free:,.1f} GiB that the weights leave: "
        f"at most {say_count(fits, 'sequence')}."
    )


def _memory_bars(use: MemoryUse, context: int, batch: int) -> list[go.Bar]:
    kv = use.kv_bytes(context, batch)
    over = max(0.0, use.weight_bytes + kv - use.total_bytes)
    parts: Sequence[tuple[str, float, dict[str, object]]] = (
        ("weights", use.weight_bytes, {"color": WAITING}),
        ("KV of the batch", kv - min(over, kv), {"color": DECODE}),
        ("KV that does not fit", min(over, kv), {"color": DECODE, "pattern": {"shape": "x", "solidity": 0.4}}),
    )
    return [
        go.Bar(
            name=name,
            x=[0],
            y=[round(size / GIB, 3)],
            marker={**marker, "line": {"width": 0}},
            hovertemplate=name + ": %{y:.2f} GiB<extra></extra>",
        )
        for name, size, marker in parts
    ]


def _fit_traces(use: MemoryUse, context: int, batch: int) -> list[go.Scatter]:
    fits = [use.num_sequences(length) or None for length in CONTEXTS]
    is_inside = batch <= use.num_sequences(context)
    to_the_left = context >= CONTEXTS[2]  # else it would be cut off
    beside = "middle left" if to_the_left else "bottom right" if is_inside else "top right"
    return [
        go.Scatter(
            name="as many as fit",
            x=list(CONTEXTS),
            y=fits,
            mode="lines+markers",
            showlegend=False,
            line={"color": ACCENT, "width": 2},
            marker={"size": 7},
            hovertemplate="%{x} tokens: %{y:,} sequences<extra></extra>",
            xaxis="x2",
            yaxis="y2",
        ),
        go.Scatter(
            name="this batch",
            x=[context],
            y=[batch],
            mode="markers+text",
            text="this batch " if to_the_left else " this batch",
            textposition=beside,
            showlegend=False,
            marker={"color": DECODE, "size": 16} | {"symbol": "circle" if is_inside else "x"},
            hovertemplate="%{y:,} sequences of %{x} tokens<extra></extra>",
            xaxis="x2",
            yaxis="y2",
        ),
    ]
