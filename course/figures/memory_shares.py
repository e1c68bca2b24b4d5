"""What KV memory is used for under several ways to give it, how many sequences it serves, and what users feel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.figures.latency import latency_bars
from course.figures.palette import DECODE, GRID, PREFILL, TEXT, WAITING
from course.figures.style import new_figure, say_ms


class MemoryShares(NamedTuple):
    """One way to give memory: shares of it in the mean over time, sequences that ran, latencies in seconds.

    ``tokens`` holds keys and values; ``later`` is kept for tokens to come, and they come; ``never`` is kept and stays
    empty; what is left of 1 is free, or between what is kept.
    """

    tokens: float
    later: float
    never: float
    num_sequences: float
    ttft_s: float
    tpot_s: float


PARTS = (
    ("tokens", "holds tokens", {"color": DECODE}),
    ("later", "kept for later tokens", {"color": DECODE, "pattern": {"shape": "/", "solidity": 0.25}}),
    ("never", "kept and never used", {"color": WAITING, "pattern": {"shape": "x", "solidity": 0.35}}),
)


def memory_shares(ways: Mapping[str, MemoryShares], title: str = "What the KV memory is used for") -> go.Figure:
    """Left: shares of the memory and how many sequences ran. Right: medians of TTFT
    (logarithmic) and TPOT."""
    names = [f"{name}<br>{way.num_sequences:.0f} run" for name, way in ways.items()]
    traces = [_part(names, ways, field, label, marker) for field, label, marker in PARTS]
    traces.append(_rest(names, ways))
    traces += [
        latency_bars(names, [way.ttft_s for way in ways.values()], "TTFT", PREFILL, "2"),
        latency_bars(names, [way.tpot_s for way in ways.values()], "TPOT", DECODE, "3"),
    ]
    axes: dict[str, Any] = {
        "xaxis": {"domain": [0, 0.5], "range": [0, 1], "tickformat": ".0%", "title": {"text": "share of KV memory"}},
        "yaxis": {"autorange": "reversed", "ticks": ""},
        "xaxis2": {"domain": [0.56, 0.77], "anchor": "y2", "type": "log", "title": {"text": "TTFT (s)"}},
        "yaxis2": {"autorange": "reversed", "anchor": "x2", "showticklabels": False, "ticks": ""},
        "xaxis3": {"domain": [0.81, 1], "anchor": "y3", "rangemode": "tozero", "title": {"text": "TPOT (ms)"}},
        "yaxis3": {"autorange": "reversed", "anchor": "x3", "showticklabels": False, "ticks": ""},
    }
    axes["xaxis2"] |= {"dtick": 1}
    axes["legend"] = {"traceorder": "normal"}
    return new_figure(traces, title, height=420, barmode="stack", bargap=0.35, margin={"t": 130}, **axes)


def memory_shares_summary(ways: Mapping[str, MemoryShares]) -> str:
    """One sentence for each way."""
    return " ".join(
        f"{name}: {way.tokens:.0%} of the memory holds tokens, {way.num_sequences:.1f} sequences run, "
        f"TTFT median {say_ms(way.ttft_s)}, TPOT median {say_ms(way.tpot_s)}."
        for name, way in ways.items()
    )


def _part(
    names: Sequence[str], ways: Mapping[str, MemoryShares], field: str, label: str, marker: dict[str, Any]
) -> dict[str, Any]:
    shares = [round(getattr(way, field), 4) for way in ways.values()]
    return {
        "type": "bar",
        "name": label,
        "x": shares,
        "y": names,
        "orientation": "h",
        "marker": {**marker, "line": {"width": 0}},
        "hovertemplate": "%{y}: %{x:.1%} " + label + "<extra></extra>",
    }


def _rest(names: Sequence[str], ways: Mapping[str, MemoryShares]) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": "free, or lost to rounding",
        "x": [round(max(0.0, 1 - way.tokens - way.later - way.never), 4) for way in ways.values()],
        "y": names,
        "orientation": "h",
        "marker": {"color": GRID, "line": {"color": TEXT, "width": 1}},
        "hovertemplate": "%{y}: %{x:.1%} free, or lost to rounding<extra></extra>",
    }
