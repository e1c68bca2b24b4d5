"""The roofline: what a machine computes in a second, at best, against the arithmetic done for each byte moved.

Williams, Waterman and Patterson, CACM 2009. Left of the ridge bytes decide how long an operator takes, right of it
arithmetic does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import ACCENT, BY_KIND, TEXT, WAITING
from course.figures.style import new_figure, say_ms

SYMBOLS = {"prefill": "circle", "decode": "diamond"}
LATENCIES = {"prefill": "TTFT", "decode": "TPOT"}
LARGEST, SMALLEST, EACH = 30.0, 8.0, 13.0  # of a dot, in pixels
ATTENTION = "attention"  # the operator that a larger batch does not help, and so the one that is named


@dataclass(frozen=True, slots=True)
class Roof:
    """What a machine does at most: ``flops_s`` FLOPs and ``bytes_s`` bytes in a second."""

    name: str
    flops_s: float
    bytes_s: float

    @property
    def ridge(self) -> float:
        """FLOPs for each byte from which on arithmetic decides."""
        return self.flops_s / self.bytes_s

    def at(self, flops_per_byte: float) -> float:
        """FLOPs/s under the roof at that intensity."""
        return min(self.flops_s, self.bytes_s * flops_per_byte)

    def seconds(self, flops: float, num_bytes: float) -> float:
        """An operator at best: the longer of computing and moving."""
        return max(flops / self.flops_s, num_bytes / self.bytes_s)


@dataclass(frozen=True, slots=True)
class Dot:
    """An operator: its work and how long it took, ``seconds`` None being at best. ``phase`` colours and groups it."""

    name: str
    phase: str
    flops: float
    num_bytes: float
    seconds: float | None = None

    @property
    def flops_per_byte(self) -> float:
        """Arithmetic intensity."""
        return self.flops / self.num_bytes


def roofline(roof: Roof, dots: Sequence[Dot], title: str = "Under the roof") -> go.Figure:
    """The roof and the dots below it, each with its name; both axes are logarithmic."""
    traces = [_roof_line(roof, dots), *_dot_traces(roof, dots, sized=False)]
    frame: dict[str, Any] = {"shapes": [_ridge_line(roof)], "annotations": [_ridge_note(roof)]}
    return new_figure(traces, title, height=440, **frame, **_axes(roof, dots))


def roofline_summary(roof: Roof, dots: Sequence[Dot]) -> str:
    """Where the ridge is, and what share of the peak each dot reaches."""
    reached = ", ".join(f"{dot.name} {dot.flops / _seconds(roof, dot) / roof.flops_s:.0%}" for dot in dots)
    return f"The ridge is at {roof.ridge:,.3g} FLOPs per byte. Of the peak is used: {reached or 'nothing'}."


def phases_under_roof(roof: Roof, phases: Mapping[str, Sequence[Dot]], title: str = "Under the roof") -> go.Figure:
    """`roofline` of the steps of prefill and decode, and beside it what the time of each step is spent on.

    ``phases`` gives the dots of "prefill" and "decode"; larger ones take more of their step. Hatched time waits for
    bytes, solid time computes.
    """
    dots = [dot for group in phases.values() for dot in group]
    axes = _axes(roof, dots)
    axes["xaxis"] |= {"domain": [0.0, 0.63]}
    names = [f"{LATENCIES[phase]}<br>{say_ms(_total_s(roof, group))}" for phase, group in phases.items()]
    axes["xaxis2"] = {"domain": [0.8, 1.0], "anchor": "y2", "tickvals": [0, 1], "ticktext": names}
    axes["yaxis2"] = {
        "anchor": "x2",
        "range": [0, 1],
        "tickformat": ".0%",
        "title": {"text": "share of the step"},
    }
    return new_figure(
        [_roof_line(roof, dots), *_dot_traces(roof, dots, sized=True), *_share_bars(roof, phases)],
        title,
        height=480,
        barmode="stack",
        bargap=0.35,
        annotations=[_ridge_note(roof), *_attention_notes(roof, phases)],
        shapes=[_ridge_line(roof)],
        legend={"traceorder": "normal"},
        **axes,
    )


def phases_under_roof_summary(roof: Roof, phases: Mapping[str, Sequence[Dot]]) -> str:
    """Seconds of each phase, what limits it, and how much of the machine's arithmetic it uses."""
    sentences = [_say_phase(roof, phase, dots) for phase, dots in phases.items()]
    return f"{' '.join(sentences)} The ridge is at {roof.ridge:,.3g} FLOPs per byte."


def _say_phase(roof: Roof, phase: str, dots: Sequence[Dot]) -> str:
    total_s = _total_s(roof, dots)
    waiting = sum(_seconds(roof, dot) for dot in dots if dot.flops_per_byte < roof.ridge) / total_s
    used = sum(dot.flops for dot in dots) / total_s / roof.flops_s
    return f"{LATENCIES[phase]} {say_ms(total_s)}: {waiting:.0%} waits for memory, {used:.1%} of the peak is used."


def _seconds(roof: Roof, dot: Dot) -> float:
    return roof.seconds(dot.flops, dot.num_bytes) if dot.seconds is None else dot.seconds


def _total_s(roof: Roof, dots: Sequence[Dot]) -> float:
    return sum(_seconds(roof, dot) for dot in dots)


def _dot_traces(roof: Roof, dots: Sequence[Dot], *, sized: bool) -> list[dict[str, Any]]:
    return [
        _dots_of(roof, phase, [dot for dot in dots if dot.phase == phase], sized)
        for phase in dict.fromkeys(dot.phase for dot in dots)
    ]


def _dots_of(roof: Roof, phase: str, dots: Sequence[Dot], sized: bool) -> dict[str, Any]:
    seconds = [_seconds(roof, dot) for dot in dots]
    sizes = [max(SMALLEST, LARGEST * math.sqrt(second / sum(seconds))) if sized else EACH for second in seconds]
    colour = BY_KIND.get(phase, ACCENT)
    return {
        "type": "scatter",
        "name": phase,
        "x": [_short(dot.flops_per_byte) for dot in dots],
        "y": [_short(dot.flops / second) for dot, second in zip(dots, seconds, strict=True)],
        "mode": "markers+text",
        "text": [dot.name if not sized or dot.name == ATTENTION else "" for dot in dots],
        "textposition": "bottom right",
        "cliponaxis": False,
        "textfont": {"color": colour, "size": 14},
        "marker": {
            "color": colour,
            "symbol": SYMBOLS.get(phase, "circle"),
            "size": [round(size, 1) for size in sizes],
            "opacity": 0.9,
            "line": {"width": 0},
        },
        "customdata": [[dot.name, say_ms(second)] for dot, second in zip(dots, seconds, strict=True)],
        "hovertemplate": "%{customdata[0]}: %{customdata[1]}<br>"
        "%{x:.3~g} FLOPs per byte, %{y:.3~s}FLOP/s<extra></extra>",
    }


def _share_bars(roof: Roof, phases: Mapping[str, Sequence[Dot]]) -> list[dict[str, Any]]:
    """For each operator a piece of its phase's bar."""
    bars = []
    for i, (phase, dots) in enumerate(phases.items()):
        total_s = _total_s(roof, dots)
        for dot in dots:
            hatched = {"shape": "/", "solidity": 0.35} if dot.flops_per_byte < roof.ridge else {"shape": ""}
            share = round(_seconds(roof, dot) / total_s, 4)
            bars.append(
                {
                    "type": "bar",
                    "name": dot.name,
                    "x": [i],
                    "y": [share],
                    "showlegend": False,
                    "marker": {"color": BY_KIND[phase], "pattern": hatched, "line": {"width": 1, "color": TEXT}},
                    "hovertemplate": f"{dot.name}: {say_ms(_seconds(roof, dot))} (%{{y:.0%}})<extra></extra>",
                    "xaxis": "x2",
                    "yaxis": "y2",
                }
            )
    return bars


def _attention_notes(roof: Roof, phases: Mapping[str, Sequence[Dot]]) -> list[dict[str, Any]]:
    """Beside the bars, where attention takes enough of the step for the word to fit."""
    notes = []
    for i, dots in enumerate(phases.values()):
        below = 0.0
        for dot in dots:
            share = _seconds(roof, dot) / _total_s(roof, dots)
            if dot.name == ATTENTION and share > 0.25:
                place = {"x": i + 0.34, "y": round(below + share / 2, 4), "xref": "x2", "yref": "y2"}
                text = {"text": dot.name, "textangle": -90, "font": {"size": 14}}
                notes.append({**place, **text, "showarrow": False, "xanchor": "left", "yanchor": "middle"})
            below += share
    return notes


def _roof_line(roof: Roof, dots: Sequence[Dot]) -> dict[str, Any]:
    low, high = _span(roof, dots)
    xs = [low, roof.ridge, high]
    return {
        "type": "scatter",
        "name": f"roof of {roof.name}",
        "x": [_short(x) for x in xs],
        "y": [_short(roof.at(x)) for x in xs],
        "mode": "lines",
        "line": {"color": WAITING, "width": 3},
        "hoverinfo": "skip",
    }


def _ridge_line(roof: Roof) -> dict[str, Any]:
    """From the axis up to the ridge: the roof itself bounds it."""
    line = {"color": WAITING, "width": 2, "dash": "dash"}
    place = {"x0": roof.ridge, "x1": roof.ridge, "y0": 0, "y1": 1, "yref": "y domain"}
    return {"type": "line", "line": line, "layer": "below", **place}


def _ridge_note(roof: Roof) -> dict[str, Any]:
    note = {"text": f"ridge: {roof.ridge:,.3g}", "x": math.log10(roof.ridge), "y": 1.0, "yref": "y domain"}
    return note | {"showarrow": False, "xanchor": "center", "yanchor": "bottom", "font": {"size": 14}}


def _span(roof: Roof, dots: Sequence[Dot]) -> tuple[float, float]:
    """What the x axis shows: the ridge, every dot, and some room."""
    xs = [roof.ridge, *(dot.flops_per_byte for dot in dots)]
    return min(0.5, min(xs) / 2), max(4 * roof.ridge, 3 * max(xs))


def _axes(roof: Roof, dots: Sequence[Dot]) -> dict[str, Any]:
    low, high = _span(roof, dots)
    lowest = min([roof.at(low), *(dot.flops / _seconds(roof, dot) / 2 for dot in dots)])
    xs, ys = [_log(low), _log(high)], [_log(lowest), _log(2 * roof.flops_s)]
    xaxis = _ticks(xs) | {"title": {"text": "FLOPs per byte"}}
    return {"xaxis": xaxis, "yaxis": _ticks(ys) | {"title": {"text": "FLOPs per second"}, "tickformat": "~s"}}


def _ticks(exponents: list[float]) -> dict[str, Any]:
    """A logarithmic axis; over less than two powers of ten it also has ticks at 2 and 5."""
    return {"type": "log", "range": exponents, "dtick": "D2" if exponents[1] - exponents[0] < 2 else 1}


def _log(value: float) -> float:
    return round(math.log10(value), 4)


def _short(value: float) -> float:
    """Four significant digits: enough for a picture, and alike on every machine."""
    return float(f"{value:.4g}")
