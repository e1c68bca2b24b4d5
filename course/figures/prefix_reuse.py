"""How many prompt tokens came from the prefix cache, and what that does to TTFT and TPOT, for several servers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.figures.latency import latency_bars
from course.figures.palette import ACCENT, DECODE, PREFILL, TEXT
from course.figures.style import new_figure, say_ms


class PrefixUse(NamedTuple):
    """One server: prompt tokens from the cache and computed, TTFT (median and longest) and TPOT (median) in seconds."""

    cached_tokens: int
    computed_tokens: int
    ttft_s: float
    worst_ttft_s: float
    tpot_s: float

    @property
    def hit_rate(self) -> float:
        """Share of the prompt tokens that came from the cache."""
        return self.cached_tokens / max(1, self.cached_tokens + self.computed_tokens)


def prefix_reuse(servers: Mapping[str, PrefixUse], title: str = "What comes from the prefix cache") -> go.Figure:
    """Left: prompt tokens, computed and cached. Right: TTFT (logarithmic; a tick marks the longest) and TPOT."""
    names = [f"{name}<br>{use.hit_rate:.0%} hits" for name, use in servers.items()]
    uses = list(servers.values())
    traces = [
        _tokens(names, [use.computed_tokens for use in uses], "prefilled", {"color": PREFILL}),
        _tokens(names, [use.cached_tokens for use in uses], "from the cache", {"color": ACCENT}),
        latency_bars(names, [use.ttft_s for use in uses], "TTFT", PREFILL, "2")
        | {"text": [_in_short(use.ttft_s) for use in uses], "textposition": "inside"},
        _longest(names, [use.worst_ttft_s for use in uses]),
        latency_bars(names, [use.tpot_s for use in uses], "TPOT", DECODE, "3"),
    ]
    hidden: dict[str, Any] = {"autorange": "reversed", "showticklabels": False, "ticks": ""}
    axes: dict[str, Any] = {
        "xaxis": {"domain": [0, 0.42], "rangemode": "tozero", "title": {"text": "prompt tokens"}, "nticks": 5},
        "yaxis": {"autorange": "reversed", "ticks": ""},
        "xaxis2": {"domain": [0.48, 0.76], "anchor": "y2", "type": "log", "dtick": 1, "title": {"text": "TTFT (s)"}},
        "yaxis2": hidden | {"anchor": "x2"},
        "xaxis3": {"domain": [0.81, 1], "anchor": "y3", "rangemode": "tozero", "title": {"text": "TPOT (ms)"}},
        "yaxis3": hidden | {"anchor": "x3"},
        "legend": {"traceorder": "normal"},
    }
    axes["xaxis2"]["range"] = _decades([use.ttft_s for use in uses], [use.worst_ttft_s for use in uses])
    return new_figure(traces, title, height=360, barmode="stack", bargap=0.35, margin={"t": 110}, **axes)


def prefix_reuse_summary(servers: Mapping[str, PrefixUse]) -> str:
    """One sentence for each server."""
    return " ".join(
        f"{name}: {use.hit_rate:.0%} of the prompt tokens from the cache, {use.computed_tokens:,} prefilled, "
        f"TTFT median {say_ms(use.ttft_s)}, longest {say_ms(use.worst_ttft_s)}, TPOT median {say_ms(use.tpot_s)}."
        for name, use in servers.items()
    )


def _decades(shortest_s: list[float], longest_s: list[float]) -> list[float]:
    """Powers of ten between which all lie: on a logarithmic axis a bar needs a beginning that stays where it is.

    The shortest bar has room for its number: outside it could stand on the tick of the longest TTFT.
    """
    least, most = max(min(shortest_s), 1e-6), max(max(longest_s), 1e-6)
    return [math.floor(math.log10(least / 4)), math.ceil(math.log10(most) + 0.05)]


def _in_short(seconds: float) -> str:
    """'7.8 s' where a summary says '7,766 ms'."""
    return f"{seconds:.1f} s" if seconds >= 1 else say_ms(seconds)


def _tokens(names: list[str], tokens: list[int], label: str, marker: dict[str, Any]) -> go.Bar:
    return go.Bar(
        name=label,
        x=tokens,
        y=names,
        orientation="h",
        marker={**marker, "line": {"width": 0}},
        hovertemplate="%{y}: %{x:,} tokens " + label + "<extra></extra>",
    )


def _longest(names: list[str], seconds: list[float]) -> go.Scatter:
    return go.Scatter(
        name="longest TTFT",
        x=[round(value, 4) for value in seconds],
        y=names,
        mode="markers",
        marker={"symbol": "line-ns", "size": 22, "line": {"width": 3, "color": TEXT}},
        hovertemplate="%{y}: longest TTFT %{x:.3~g} s<extra></extra>",
        xaxis="x2",
        yaxis="y2",
    )
