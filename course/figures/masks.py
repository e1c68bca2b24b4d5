"""Who may look at which key: masks of attention as grids, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from course.figures.palette import ACCENT, TEXT, WAITING, WRONG

CELL, GAP, LEFT, HEAD = 22, 3, 34, 56

Mask = Sequence[Sequence[bool]]
"""A row for each token that looks, an entry for each key: whether it may."""


def mask_grid(masks: Mapping[str, Mask], start: int = 0) -> str:
    """Masks side by side, as SVG text: filled where a token (row) may look at a key (column).

    Rows are the positions ``start``, ``start + 1`` and so on; columns are positions from 0. A line stands before the
    chunk's first own key. In the first mask the cells that differ from the last one are framed.
    """
    grids = list(masks.items())
    parts, x, height = [], 0, 0
    for number, (title, mask) in enumerate(grids):
        compared = grids[-1][1] if number == 0 else mask
        parts.append(f'<g transform="translate({x},0)">{_grid(title, mask, compared, start)}</g>')
        width = max((len(row) for row in mask), default=0)
        x += LEFT + CELL * max(width, 6) + 40
        height = max(height, HEAD + CELL * len(mask) + 12)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{x}" height="{height}" viewBox="0 0 {x} {height}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="{escape(mask_summary(masks))}">'
        f"{''.join(parts)}</svg>"
    )


def mask_summary(masks: Mapping[str, Mask]) -> str:
    """How many pairs each mask allows, and how many cells of the first are wrong."""
    said = [f"{title}: {sum(map(sum, mask))} pairs" for title, mask in masks.items()]
    first, last = (list(masks.values())[place] for place in (0, -1))
    wrong = sum(a != b for one, other in zip(first, last, strict=False) for a, b in zip(one, other, strict=False))
    return "; ".join(said) + (f"; {wrong} cells differ" if wrong else "")


def _grid(title: str, mask: Mask, compared: Mask, start: int) -> str:
    parts = [f'<text x="0" y="18" font-size="15" font-weight="600" fill="{TEXT}">{escape(title)}</text>']
    width = max((len(row) for row in mask), default=0)
    parts += [_label(LEFT + CELL * j + CELL / 2 - 1, HEAD - 8, str(j)) for j in range(width)]
    for i, row in enumerate(mask):
        parts.append(_label(LEFT - 14, HEAD + CELL * i + 15, str(start + i)))
        for j, may in enumerate(row):
            right = i < len(compared) and j < len(compared[i]) and compared[i][j] == may
            parts.append(_cell(LEFT + CELL * j, HEAD + CELL * i, bool(may), not right))
    if 0 < start < width:
        x = LEFT + CELL * start - GAP / 2
        parts.append(f'<path d="M{x} {HEAD - 22}V{HEAD + CELL * len(mask)}" stroke="{TEXT}" stroke-width="1.5"/>')
    return "".join(parts)


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="13" text-anchor="middle" fill="{TEXT}">{text}</text>'


def _cell(x: float, y: float, may: bool, wrong: bool) -> str:
    size, fill = CELL - GAP, ACCENT if may else "none"
    cell = f'<rect x="{x}" y="{y}" width="{size}" height="{size}" rx="3" fill="{fill}" stroke="{WAITING}"/>'
    if wrong:
        at = f'x="{x - 1}" y="{y - 1}" width="{size + 2}" height="{size + 2}"'
        cell += f'<rect {at} rx="4" fill="none" stroke="{WRONG}" stroke-width="3"/>'
    return cell
