"""The tokens of a stream over time: while the line is flat, the reader waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.figures.palette import DECODE, SERIES, WAITING
from course.figures.style import FONT_SIZE, ms, new_figure, say_count, say_ms
from course.metrics.statistics import percentile


class Stall(NamedTuple):
    """A gap above the limit: between token ``token`` and the next; times in seconds."""

    start_s: float
    end_s: float
    token: int


def stalls(times_s: Sequence[float], limit_s: float) -> list[Stall]:
    """The gaps of a stream that are longer than ``limit_s`` (seconds)."""
    return [Stall(a, b, i + 1) for i, (a, b) in enumerate(pairwise(times_s)) if b - a > limit_s]


def token_gaps(
    streams: Mapping[str, Sequence[float]] | Sequence[float], limit_s: float, title: str = "One answer, token by token"
) -> go.Figure:
    """Tokens received over time, with every gap above ``limit_s`` marked and the longest one labelled.

    ``streams`` holds the token times (seconds) of one answer, or of several by name.
    """
    named = streams if isinstance(streams, Mapping) else {"": streams}
    traces, longest = [], []
    for i, (name, times_s) in enumerate(named.items()):
        colour = DECODE if len(named) == 1 else SERIES[i % len(SERIES)]
        found = stalls(times_s, limit_s)
        traces += [_stall_trace(found, is_first=i == 0), _stream_trace(name, times_s, colour)]
        if found:
            longest.append(max(found, key=lambda s: s.end_s - s.start_s))
    axes: dict[str, Any] = {"xaxis": {"title": {"text": "time (ms)"}, "rangemode": "nonnegative"}}
    axes["yaxis"] = {"title": {"text": "tokens received"}}
    return new_figure(traces, title, annotations=_labels(longest, list(named.values())), **axes)


def token_gaps_summary(streams: Mapping[str, Sequence[float]] | Sequence[float], limit_s: float) -> str:
    """Median and longest gap of each stream, and how many stall."""
    named = streams if isinstance(streams, Mapping) else {"": streams}
    return " ".join(f"{name}: {_say(t, limit_s)}" if name else _say(t, limit_s) for name, t in named.items())


def _say(times_s: Sequence[float], limit_s: float) -> str:
    gaps = [b - a for a, b in pairwise(times_s)]
    if not gaps:
        return f"{say_count(len(times_s), 'token')}, no gaps."
    num = len(stalls(times_s, limit_s))
    beyond = f"{num or 'none'} longer than {say_ms(limit_s)}"
    return f"gaps: median {say_ms(percentile(gaps, 50))}, longest {say_ms(max(gaps))}, {beyond}."


def _stream_trace(name: str, times_s: Sequence[float], colour: str) -> go.Scatter:
    return go.Scatter(
        name=name or "tokens",
        x=ms(times_s),
        y=list(range(1, len(times_s) + 1)),
        mode="lines+markers",
        line={"color": colour, "width": 2, "shape": "hv"},
        marker={"color": colour, "size": 7},
        hovertemplate="token %{y} at %{x:.0f} ms<extra>" + name + "</extra>",
    )


def _stall_trace(found: Sequence[Stall], is_first: bool) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for stall in found:
        x += [*ms((stall.start_s, stall.end_s)), None]
        y += [stall.token, stall.token, None]
    line = {"color": WAITING, "width": 12}
    return go.Scatter(name="stall", x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=is_first)


def _labels(longest: Sequence[Stall], streams: Sequence[Sequence[float]]) -> list[dict[str, object]]:
    """One below each stall. Several may happen at once: then the highest has it above, and none stands over another.

    Of a single stall it stands where the fewest tokens are in the way.
    """
    labels: list[dict[str, object]] = []
    for i, stall in enumerate(sorted(longest, key=lambda s: s.token)):
        is_highest = i == len(longest) - 1 > 0
        share, side = (i + 1) / (len(longest) + 1), 1 if is_highest else -1
        if len(longest) == 1:
            places = [(part / 4, way) for way in (-1, 1) for part in (2, 1, 3)]
            share, side = min(places, key=lambda place: _num_hidden(stall, place[0], place[1], streams))
        labels.append(
            {
                "text": f"<b>{say_ms(stall.end_s - stall.start_s)}</b>",
                "x": round(1e3 * (stall.start_s + (stall.end_s - stall.start_s) * share), 3),
                "y": stall.token,
                "yshift": 20 * side,
                "showarrow": False,
                "font": {"size": FONT_SIZE},
            }
        )
    return labels


def _num_hidden(stall: Stall, share: float, side: int, streams: Sequence[Sequence[float]]) -> int:
    """How many tokens a label would hide: a tenth of the picture wide, a tenth high, beside the stall."""
    most, end_s = max(map(len, streams)), max(times_s[-1] for times_s in streams if times_s)
    at_s, at_token = stall.start_s + (stall.end_s - stall.start_s) * share, stall.token + side * 0.09 * most
    near = [(abs(t - at_s), abs(n - at_token)) for times_s in streams for n, t in enumerate(times_s, 1)]
    return sum(beside < 0.06 * end_s and above < 0.06 * most for beside, above in near)
