"""Cached blocks as the tree that their hashes make: what stands behind a block hangs on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import NamedTuple

from course.figures.palette import ACCENT, TEXT, WRONG
from course.figures.style import say_count

WIDTH, HEIGHT, GAP_X, GAP_Y, TOP = 84, 34, 26, 14, 34
SCALE = 1.3  # its letters are then as large as those of a plotly figure


class TreeBlock(NamedTuple):
    """A block: its key, that of the block before it, what is written in it, and how many sequences hold it."""

    key: int
    parent: int | None
    label: str
    num_holders: int = 0


def blocks_of(
    texts: Mapping[str, Sequence[int]], labels: Mapping[int, str], held: Collection[str] = ()
) -> list[TreeBlock]:
    """The blocks of texts, given as chained hashes. The texts in ``held`` are being served."""
    parents: dict[int, int | None] = {}
    holders: dict[int, int] = {}
    for name, hashes in texts.items():
        for before, each in zip([None, *hashes], hashes, strict=False):
            parents.setdefault(each, before)
            holders[each] = holders.get(each, 0) + (name in held)
    return [TreeBlock(each, parent, labels.get(each, ""), holders[each]) for each, parent in parents.items()]


def prefix_tree(
    blocks: Sequence[TreeBlock], wrong: Collection[int] = (), right: Collection[int] = (), verb: str = "evicted"
) -> str:
    """The tree as SVG text: filled if somebody holds the block, hollow if nobody does.

    Blocks in ``wrong`` are red and struck out, with ``verb`` below them; those in ``right`` should have been
    taken instead.
    """
    places = _places(blocks)
    depth = max((column for column, _ in places.values()), default=0) + 1
    rows = max((row for _, row in places.values()), default=0) + 1
    width = max(depth * (WIDTH + GAP_X), 430)
    height = TOP + rows * (HEIGHT + GAP_Y) + 6
    parts = [_legend()]
    for block in blocks:
        if block.parent in places:
            parts.append(_line(places[block.parent], places[block.key]))  # type: ignore[index]
    for block in blocks:
        word, colour = ("", ACCENT if block.num_holders else TEXT)
        if block.key in wrong:
            word, colour = verb, WRONG
        elif block.key in right:
            word, colour = "this one", ACCENT
        parts.append(_box(places[block.key], block, colour, word, bold=block.key in wrong or block.key in right))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SCALE * width:g}" height="{SCALE * height:g}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" role="img" '
        f'aria-label="{escape(prefix_tree_summary(blocks, wrong, right, verb))}">{"".join(parts)}</svg>'
    )


def prefix_tree_summary(
    blocks: Sequence[TreeBlock], wrong: Collection[int] = (), right: Collection[int] = (), verb: str = "evicted"
) -> str:
    """How many blocks there are, how many are held, how many are leaves, and what is wrong."""
    parents = {block.parent for block in blocks}
    held = sum(block.num_holders > 0 for block in blocks)
    ends = sum(block.key not in parents for block in blocks)
    said = f"{say_count(len(blocks), 'block')}, {held} held, {say_count(ends, 'end')}"
    by_key = {block.key: block.label or str(block.key) for block in blocks}
    if wrong:
        said += f"; {verb}: {', '.join(by_key[key] for key in wrong)}"
    if right:
        said += f"; right: {', '.join(by_key[key] for key in right)}"
    return said + "."


def _places(blocks: Sequence[TreeBlock]) -> dict[int, tuple[int, int]]:
    """Column and row of each block: as deep as it stands, the first child in its parent's row."""
    keys = {block.key for block in blocks}
    children: dict[int | None, list[int]] = {}
    for block in blocks:
        children.setdefault(block.parent if block.parent in keys else None, []).append(block.key)
    places: dict[int, tuple[int, int]] = {}
    next_row = 0
    todo = [(key, 0, True) for key in reversed(children.get(None, []))]
    while todo:
        key, column, opens_row = todo.pop()
        next_row += opens_row
        places[key] = column, next_row - 1
        below = children.get(key, [])
        todo += [(child, column + 1, number > 0) for number, child in reversed(list(enumerate(below)))]
    return places


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    return 2 + place[0] * (WIDTH + GAP_X), TOP + place[1] * (HEIGHT + GAP_Y)


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x0, y0), (x1, y1) = _corner(start), _corner(end)
    middle = x1 - GAP_X / 2
    path = f"M{x0 + WIDTH} {y0 + HEIGHT / 2}H{middle}V{y1 + HEIGHT / 2}H{x1}"
    return f'<path d="{path}" stroke="{TEXT}" stroke-width="1.5" fill="none"/>'


def _box(place: tuple[int, int], block: TreeBlock, colour: str, word: str, bold: bool) -> str:
    x, y = _corner(place)
    fill = f'fill="{ACCENT}" fill-opacity="0.12"' if block.num_holders else 'fill="none"'
    dash = "" if block.num_holders or bold else ' stroke-dasharray="4 3"'
    box = (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" {fill} stroke="{colour}" '
        f'stroke-width="{3 if bold else 1.8}"{dash}/>'
    )
    text = _text(x + WIDTH / 2, y + (15 if word else 21), block.label)
    return box + text + (_text(x + WIDTH / 2, y + 29, word, colour, bold=True) if word else "")


def _text(x: float, y: float, words: str, colour: str = TEXT, *, bold: bool = False, anchor: str = "middle") -> str:
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="13" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(words)}</text>'


def _legend() -> str:
    size = 'y="4" width="16" height="14" rx="3" stroke-width="1.8"'
    held = f'<rect x="2" {size} fill="{ACCENT}" fill-opacity="0.12" stroke="{ACCENT}"/>'
    idle = f'<rect x="92" {size} fill="none" stroke="{TEXT}" stroke-dasharray="4 3"/>'
    words = _text(24, 16, "in use", anchor="start") + _text(114, 16, "cached, held by nobody", anchor="start")
    return held + idle + words
