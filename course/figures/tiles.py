"""Attention tile by tile: which tile is computed when, and what that saves in bytes and in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.figures.palette import DECODE, PREFILL, SERIES, WAITING
from course.figures.style import new_figure, say_ms

Span = tuple[int, int]
TO_COME, DONE, NOW = 1, 2, 3
SQUARES = "scores and weights"
_SCALE = [[0.0, "rgba(128, 128, 128, 0.22)"], [0.5, "rgba(0, 158, 115, 0.45)"], [1.0, PREFILL]]
"""For tiles to come, done (the palette's ACCENT, lighter), and the one that is computed now."""


@dataclass(frozen=True, slots=True)
class TileWalk:
    """The reads of a run in order, as (rows of queries, rows of keys), each (first, behind the last)."""

    reads: Sequence[tuple[Span, Span]]
    num_tokens: int
    tile: int
    head_dim: int
    element_bytes: int = 2

    def moved(self, step: int) -> dict[str, int]:
        """Bytes after the first ``step`` reads: queries once for each run of reads, outputs when that run is over."""
        vector = self.head_dim * self.element_bytes
        runs = [queries for queries, _ in groupby(self.reads[:step], key=lambda read: read[0])]
        goes_on = 0 < step < len(self.reads) and self.reads[step][0] == self.reads[step - 1][0]
        over = runs[:-1] if goes_on else runs
        return {
            "queries": vector * sum(last - first for first, last in runs),
            "keys and values": 2 * vector * sum(last - first for _, (first, last) in self.reads[:step]),
            "outputs": vector * sum(last - first for first, last in over),
        }

    @property
    def whole_bytes(self) -> dict[str, int]:
        """Bytes with the whole matrix, in three steps: vectors, and the matrix written and read twice."""
        vectors = 4 * self.num_tokens * self.head_dim * self.element_bytes
        return {"vectors": vectors, SQUARES: 4 * self.num_tokens**2 * self.element_bytes}


def tile_walk(walk: TileWalk, step: int, title: str = "Which tile is read when") -> go.Figure:
    """Left: the score matrix in tiles, after ``step`` of them. Right: bytes moved so far, and in three steps."""
    size = -(-walk.num_tokens // walk.tile)
    cells: list[list[int | None]] = [[None] * size for _ in range(size)]
    for number, (queries, keys) in enumerate(walk.reads):
        state = NOW if number == step - 1 else DONE if number < step else TO_COME
        cells[queries[0] // walk.tile][keys[0] // walk.tile] = state
    matrix = go.Heatmap(
        z=cells,
        zmin=TO_COME,
        zmax=NOW,
        colorscale=_SCALE,
        showscale=False,
        xgap=2,
        ygap=2,
        hovertemplate="queries of tile %{y}, keys of tile %{x}<extra></extra>",
    )
    most = max(sum(walk.whole_bytes.values()), sum(walk.moved(len(walk.reads)).values())) / 1e6
    plain: dict[str, Any] = {"showgrid": False, "showline": False, "ticks": "", "showticklabels": False}
    axes = {
        "xaxis": plain | {"domain": [0, 0.42], "title": {"text": "tiles of keys and values"}, "constrain": "domain"},
        "yaxis": plain | {"autorange": "reversed", "title": {"text": "tiles of queries"}, "scaleanchor": "x"},
        "xaxis2": {
            "domain": [0.6, 1],
            "anchor": "y2",
            "range": [0, round(1.08 * most, 3)],
            "title": {"text": "MB moved"},
        },
        "yaxis2": {"anchor": "x2", "autorange": "reversed", "ticks": ""},
    }
    axes["yaxis"]["constrain"] = "domain"
    room = {"margin": {"t": 130}}  # on a narrow page the legend takes two lines
    traces = [matrix, *_moved_bars(walk, step)]
    return new_figure(traces, title, height=480, barmode="stack", bargap=0.45, **axes, **room)


def tile_walk_summary(walk: TileWalk, step: int) -> str:
    """How far the run is, what is on the chip, and what has moved."""
    moved, whole = sum(walk.moved(step).values()), sum(walk.whole_bytes.values())
    now = "before the first tile"
    if step:
        queries, keys = walk.reads[step - 1]
        now = f"queries {queries[0]} to {queries[1] - 1} meet keys {keys[0]} to {keys[1] - 1}"
    head = f"Tile {step} of {len(walk.reads)}: {now}."
    return f"{head} Moved so far: {moved / 1e6:.3g} MB; three steps with the whole matrix move {whole / 1e6:.3g} MB."


def _moved_bars(walk: TileWalk, step: int) -> list[go.Bar]:
    colours = {"queries": SERIES[1], "keys and values": DECODE, "outputs": SERIES[2], SQUARES: WAITING}
    moved, whole = walk.moved(step), walk.whole_bytes
    parts = [(name, "tiles", amount, colours[name]) for name, amount in moved.items()]
    vector = whole["vectors"] // 4
    once = {"queries": vector, "keys and values": 2 * vector, "outputs": vector} | {SQUARES: whole[SQUARES]}
    parts += [(name, "big matrix", amount, colours[name]) for name, amount in once.items()]
    return [
        go.Bar(
            name=name,
            legendgroup=name,
            showlegend=row == "tiles" or name == SQUARES,
            x=[round(amount / 1e6, 4)],
            y=[row],
            orientation="h",
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate=f"{name}: " + "%{x:.3~g} MB<extra></extra>",
            xaxis="x2",
            yaxis="y2",
        )
        for name, row, amount, colour in parts
    ]


class AttentionWay(NamedTuple):
    """One way to compute attention: bytes that it moves in a prefill; seconds of that prefill and of a decode step.

    ``num_parts`` are the pieces of each cache that a decode step reads at the same time.
    """

    attention_bytes: float
    matrices_s: float
    attention_s: float
    decode_weights_s: float
    decode_caches_s: float
    num_parts: int = 1

    @property
    def ttft_s(self) -> float:
        """The prefill."""
        return self.matrices_s + self.attention_s

    @property
    def tpot_s(self) -> float:
        """The decode step."""
        return self.decode_weights_s + self.decode_caches_s


def attention_ways(ways: Mapping[str, AttentionWay], title: str = "What tiles save") -> go.Figure:
    """For each way: gigabytes that attention moves in a prefill; TTFT and TPOT, and what they are spent on."""
    parts = [f"{way.num_parts} part{'s' * (way.num_parts != 1)}" for way in ways.values()]
    names_of_ways = [name.replace(" ", "<br>", 1) for name in ways]  # in one line they would read as one
    panels: tuple[tuple[str, list[str], Sequence[tuple[str, str, str, float]]], ...] = (
        ("GB moved by attention", names_of_ways, (("attention", "attention_bytes", PREFILL, 1e-9),)),
        (
            "TTFT (ms)",
            names_of_ways,
            (("weights", "matrices_s", WAITING, 1e3), ("attention", "attention_s", PREFILL, 1e3)),
        ),
        (
            "TPOT (ms)",
            parts,
            (("weights", "decode_weights_s", WAITING, 1e3), ("caches", "decode_caches_s", DECODE, 1e3)),
        ),
    )
    traces: list[go.Bar] = []
    axes: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    for i, (label, names, stacked) in enumerate(panels):
        suffix, left = str(i + 1) if i else "", 0.37 * i
        for name, field, colour, unit in stacked:
            values = [round(unit * getattr(way, field), 3) for way in ways.values()]
            is_named = name in {trace.name for trace in traces if trace.showlegend}
            traces.append(_way_bar(name, values, colour, suffix, showlegend=bool(suffix) and not is_named))
        ticks = {"tickvals": list(range(len(names))), "ticktext": names, "tickangle": 0, "ticks": ""}
        axes[f"xaxis{suffix}"] = {"domain": [left, left + 0.26], "anchor": f"y{suffix}", **ticks}
        axes[f"yaxis{suffix}"] = {"anchor": f"x{suffix}", "rangemode": "tozero", "nticks": 5}
        place = {"x": left, "y": 1.02, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        notes.append({"text": label, "showarrow": False, "font": {"size": 15}, **place})
    layout = {"margin": {"t": 125}, "legend": {"y": 1.11, "traceorder": "normal"}, "annotations": notes}
    return new_figure(traces, title, height=440, barmode="stack", bargap=0.4, **axes, **layout)


def attention_ways_summary(ways: Mapping[str, AttentionWay]) -> str:
    """One sentence for each way."""
    return " ".join(
        f"{name.capitalize()}: attention moves {_say_gb(way.attention_bytes)}, TTFT {say_ms(way.ttft_s)}, "
        f"TPOT {say_ms(way.tpot_s)}."
        for name, way in ways.items()
    )


def _say_gb(num_bytes: float) -> str:
    gigabytes = num_bytes / 1e9
    return f"{gigabytes:,.0f} GB" if gigabytes >= 100 else f"{gigabytes:.3g} GB"


def _way_bar(name: str, values: Sequence[float], colour: str, suffix: str, *, showlegend: bool) -> go.Bar:
    return go.Bar(
        name=name,
        legendgroup=name,
        showlegend=showlegend,
        x=list(range(len(values))),
        y=list(values),
        marker={"color": colour, "line": {"width": 0}},
        hovertemplate=name + ": %{y:,.4~g}<extra></extra>",
        xaxis=f"x{suffix}",
        yaxis=f"y{suffix}",
    )
