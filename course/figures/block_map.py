"""Who holds which block of a paged memory; a block that nobody holds and that is not free either is lost, and red."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.figures.palette import ACCENT, CLEAR, SERIES, TEXT, WRONG
from course.figures.style import FONT_SIZE, new_figure, say_count

MOST_COLUMNS = 12
GAP = 0.12  # between blocks, in widths of one
BAR = 0.26  # height of the bar, in heights of a square


class Held(NamedTuple):
    """What one sequence holds: its block table, and how many tokens stand in it."""

    table: Sequence[int]
    num_tokens: int


class Kinds(NamedTuple):
    """Blocks by what is to be said of them. The lost are held by nobody and not free, the doubled free and held."""

    own: list[int]
    shared: list[int]
    free: list[int]
    lost: list[int]
    doubled: list[int]


def kinds_of(num_blocks: int, held: Mapping[str, Held], free: Iterable[int] | None = None) -> Kinds:
    """Sort the blocks; ``free`` is the allocator's list (None: what nobody holds is free)."""
    holders = Counter(block for one in held.values() for block in one.table)
    listed = Counter(free) if free is not None else Counter(set(range(num_blocks)) - holders.keys())
    blocks = range(num_blocks)
    doubled = [b for b in blocks if listed[b] + bool(holders[b]) > 1]
    wrong = set(doubled)
    return Kinds(
        own=[b for b in blocks if holders[b] == 1 and b not in wrong],
        shared=[b for b in blocks if holders[b] > 1 and b not in wrong],
        free=[b for b in blocks if listed[b] and b not in wrong],
        lost=[b for b in blocks if not holders[b] and not listed[b]],
        doubled=doubled,
    )


def block_map(
    num_blocks: int,
    block_size: int,
    held: Mapping[str, Held],
    free: Iterable[int] | None = None,
    title: str = "Who holds which block",
) -> go.Figure:
    """A square for each block with the names of its holders, and a bar as long as the tokens in it."""
    kinds = kinds_of(num_blocks, held, free)
    columns = min(num_blocks, MOST_COLUMNS)
    rows = -(-num_blocks // columns)
    colour = dict.fromkeys(kinds.own, ACCENT) | dict.fromkeys(kinds.shared, SERIES[1])
    colour |= dict.fromkeys([*kinds.lost, *kinds.doubled], WRONG)
    filled = _filled(block_size, held)
    shapes = []
    for block in range(num_blocks):
        row, column = divmod(block, columns)
        full = 1.0 if block in kinds.lost else filled.get(block, 0) / block_size
        shapes += _square(column, row, colour.get(block), full)
    traces = [_names(held, kinds, columns, num_blocks), *_legend(kinds)]
    axes: dict[str, Any] = {
        "xaxis": {"visible": False, "range": [-0.05, columns], "fixedrange": True},
        "yaxis": {"visible": False, "range": [rows, -0.05], "fixedrange": True},
    }
    return new_figure(traces, title, height=120 + 72 * rows, shapes=shapes, margin={"l": 10, "r": 10, "b": 10}, **axes)


def block_map_summary(
    num_blocks: int, block_size: int, held: Mapping[str, Held], free: Iterable[int] | None = None
) -> str:
    """How many blocks are held, shared and free, how many slots in them are empty, and what is wrong."""
    kinds = kinds_of(num_blocks, held, free)
    filled = _filled(block_size, held)
    empty = sum(block_size - count for count in filled.values())
    parts = [
        f"{len(filled)} of {say_count(num_blocks, 'block')} held by {say_count(len(held), 'sequence')}, "
        f"{len(kinds.shared)} of them shared",
        f"{empty} of {len(filled) * block_size} slots in them empty",
    ]
    if kinds.lost:
        parts.append(f"LOST: {', '.join(map(str, kinds.lost))}")
    if kinds.doubled:
        parts.append(f"GIVEN TWICE: {', '.join(map(str, kinds.doubled))}")
    return "; ".join(parts) + "."


def _filled(block_size: int, held: Mapping[str, Held]) -> dict[int, int]:
    """Tokens in each block that somebody holds."""
    filled: dict[int, int] = {}
    for table, num_tokens in held.values():
        for i, block in enumerate(table):
            tokens = min(max(num_tokens - i * block_size, 0), block_size)
            filled[block] = max(filled.get(block, 0), tokens)
    return filled


def _square(column: int, row: int, colour: str | None, full: float) -> list[dict[str, Any]]:
    """The outline of a block, and the bar at its bottom."""
    left, top, size = column, row, 1 - GAP
    frame = {"type": "rect", "x0": left, "x1": left + size, "y0": top, "y1": top + size, "layer": "below"}
    outline = frame | {"line": {"color": colour or TEXT, "width": 2 if colour else 1}, "fillcolor": CLEAR}
    if not colour or not full:
        return [outline]
    inside = frame | {"x1": round(left + size * full, 4), "y0": round(top + (1 - BAR) * size, 4)}
    inside |= {"fillcolor": colour, "line": {"width": 0}}
    return [inside, outline]


def _names(held: Mapping[str, Held], kinds: Kinds, columns: int, num_blocks: int) -> go.Scatter:
    names: dict[int, list[str]] = {}
    for name, one in held.items():
        for block in one.table:
            names.setdefault(block, []).append(name)
    said = {block: " ".join(names.get(block, ())) for block in range(num_blocks)}
    said |= dict.fromkeys(kinds.lost, "lost") | {block: f"{said[block]}+free" for block in kinds.doubled}
    return go.Scatter(
        x=[block % columns + (1 - GAP) / 2 for block in said],
        y=[block // columns + (1 - BAR) * (1 - GAP) / 2 for block in said],
        mode="text",
        text=[f"{block}<br><b>{text}</b>" for block, text in said.items()],
        textfont={"size": FONT_SIZE - 2},
        hovertext=[f"block {block}: {text or 'free'}" for block, text in said.items()],
        hoverinfo="text",
        showlegend=False,
    )


def _legend(kinds: Kinds) -> list[go.Scatter]:
    """An entry for each kind that is there."""
    entries = [("held by one", ACCENT, kinds.own), ("shared", SERIES[1], kinds.shared)]
    entries += [("lost: not held, not free", WRONG, kinds.lost), ("held and free", WRONG, kinds.doubled)]
    return [
        go.Scatter(
            name=name,
            x=[None],
            y=[None],
            mode="markers",
            marker={"color": colour, "size": 14, "symbol": "square"},
            showlegend=True,
        )
        for name, colour, blocks in entries
        if blocks
    ]
