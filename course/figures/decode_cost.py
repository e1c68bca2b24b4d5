"""Time per token with and without a cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import DECODE, PREFILL
from course.figures.style import ms, new_figure, say_count, say_ms
from course.metrics.statistics import percentile


def cached_vs_uncached(
    cached_s: Sequence[float], uncached_s: Sequence[float], title: str = "Time for each token"
) -> go.Figure:
    """Seconds for each output token, the first (the prompt's) included, by both ways; nothing is assumed of them."""
    traces = [
        _line("without cache: the whole text again", uncached_s, PREFILL, "square"),
        _line("with cache: one new token", cached_s, DECODE, "circle"),
    ]
    axes: dict[str, Any] = {"xaxis": {"title": {"text": "output token (1 ends the prefill)"}, "rangemode": "tozero"}}
    axes["yaxis"] = {"title": {"text": "time (ms)"}, "rangemode": "tozero"}
    return new_figure(traces, title, **axes)


def cached_vs_uncached_summary(cached_s: Sequence[float], uncached_s: Sequence[float]) -> str:
    """TTFT and mean TPOT of both, and the factor between the totals."""
    if not cached_s or not uncached_s:
        return "No tokens."
    factor = sum(uncached_s) / sum(cached_s)
    return (
        f"{say_count(len(cached_s), 'token')}: with cache {_say(cached_s)}; without {_say(uncached_s)}. "
        f"The whole answer takes {factor:.1f} times as long without."
    )


def _say(times_s: Sequence[float]) -> str:
    later = list(times_s[1:])
    tpot = f", TPOT {say_ms(sum(later) / len(later))}" if later else ""
    return f"TTFT {say_ms(times_s[0])}{tpot}"


def _line(name: str, times_s: Sequence[float], colour: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=list(range(1, len(times_s) + 1)),
        y=ms(times_s),
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"color": colour, "size": 6, "symbol": symbol},
        hovertemplate="token %{x}: %{y:.3~g} ms<extra></extra>",
    )


def smoothed(times_s: Sequence[float], window: int = 5) -> list[float]:
    """The running median of measured times (seconds): one hiccup of the machine does not hide the shape."""
    half = window // 2
    return [percentile(times_s[max(0, i - half) : i + half + 1], 50) for i in range(len(times_s))]
