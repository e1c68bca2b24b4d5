"""The blocks of two workers side by side: what stands in them, who needs them, and in red what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from course.figures.palette import ACCENT, SERIES, TEXT, WRONG

CELL, GAP, LEFT, ROW = 58, 8, 88, 92
COLUMNS = 8


@dataclass(frozen=True)
class PoolState:
    """A worker's pool: what stands in each block, who needs which block, and a word for each one that is wrong."""

    name: str
    contents: Sequence[str]
    owners: Mapping[int, str] = field(default_factory=dict)
    wrong: Mapping[int, str] = field(default_factory=dict)


def two_pools(source: PoolState, target: PoolState, title: str = "") -> str:
    """SVG text: a row of numbered squares for each worker.

    A square has the name of whoever needs the block below its number, and what stands in it in the middle. Blocks with
    a word in ``wrong`` are red.
    """
    parts, y = [], 8
    names = sorted({*source.owners.values(), *target.owners.values()})
    colours = {name: (ACCENT, *SERIES[1:], TEXT)[min(place, 3)] for place, name in enumerate(names)}
    if title:
        parts.append(_text(0, 18, title, size=15, weight=600))
        y = 34
    for pool in (source, target):
        parts.append(_text(0, y + CELL / 2 + 5, pool.name, size=15, weight=600))
        for block, content in enumerate(pool.contents):
            row, column = divmod(block, COLUMNS)
            x, top = LEFT + column * (CELL + GAP), y + row * ROW
            parts.append(_block(x, top, block, content, pool, colours))
        y += ROW * max(1, -(-len(pool.contents) // COLUMNS))
    columns = min(COLUMNS, max(len(source.contents), len(target.contents), 1))
    width = max(LEFT + columns * (CELL + GAP), 30 + 9 * len(title))
    label = escape(two_pools_summary(source, target, title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def two_pools_summary(source: PoolState, target: PoolState, title: str = "") -> str:
    """Who needs which blocks at either worker, and what is wrong."""
    said = [title] if title else []
    for pool in (source, target):
        named = [f"{block} {owner}" for block, owner in sorted(pool.owners.items())]
        said.append(f"{pool.name}: {', '.join(named) or 'nothing held'}")
        if pool.wrong:
            said.append("wrong there: " + ", ".join(f"{block} {word}" for block, word in sorted(pool.wrong.items())))
    return "; ".join(said) + "."


def _block(x: float, y: float, block: int, content: str, pool: PoolState, colours: Mapping[str, str]) -> str:
    owner, word = pool.owners.get(block, ""), pool.wrong.get(block, "")
    colour = WRONG if word else colours.get(owner, TEXT)
    width = 3 if word else 2 if owner else 1
    dash = "" if owner or word else ' stroke-dasharray="3 3"'
    frame = f'<rect x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{CELL - 2}" rx="5" fill="none" '
    frame += f'stroke="{colour}" stroke-width="{width}"{dash}/>'
    parts = [frame, _text(x + 6, y + 16, str(block), size=12)]
    if owner:
        parts.append(_text(x + CELL - 7, y + 16, owner, size=13, weight=700, colour=colour, anchor="end"))
    faded = 1.0 if owner or word else 0.55
    parts.append(_text(x + CELL / 2, y + 42, content, size=17, colour=colour, anchor="middle", opacity=faded))
    if word:
        parts.append(_text(x + CELL / 2, y + CELL + 15, word, size=12, weight=700, colour=WRONG, anchor="middle"))
    return "".join(parts)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    weight: int = 400,
    colour: str = TEXT,
    anchor: str = "start",
    opacity: float = 1.0,
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}" opacity="{opacity:g}">{escape(text)}</text>'
    )
