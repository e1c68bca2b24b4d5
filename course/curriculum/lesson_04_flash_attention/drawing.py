"""Weights of attention in tiles, expected and given, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from course.figures.palette import TEXT, WRONG

CELL = 30


def two_grids(expected: Sequence[Sequence[float]], got: Sequence[Sequence[float]], tile: int) -> str:
    """Two squares of weights side by side, with lines between the tiles; wrong weights have a red frame."""
    size = len(expected)
    wide = max(CELL * size, 110)
    first = _grid("expected", expected, expected, tile)
    second = f'<g transform="translate({wide + 40},0)">{_grid("yours", got, expected, tile)}</g>'
    width, height = 2 * wide + 60, CELL * size + 34
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="weights, expected and yours">{first}{second}</svg>'
    )


def _grid(title: str, weights: Sequence[Sequence[float]], expected: Sequence[Sequence[float]], tile: int) -> str:
    parts = [f'<text x="0" y="14" font-size="14" fill="{TEXT}">{title}</text>']
    for i, (row, wanted) in enumerate(zip(weights, expected, strict=True)):
        for j, (weight, truth) in enumerate(zip(row, wanted, strict=True)):
            x, y = CELL * j, CELL * i + 24
            wrong = not math.isclose(weight, truth, rel_tol=1e-3, abs_tol=1e-4)
            ink = min(max(weight, 0.0), 1.0) if math.isfinite(weight) else 0.0
            frame = f'stroke="{WRONG}" stroke-width="2.5"' if wrong else f'stroke="{TEXT}" stroke-width="0.4"'
            box = f'x="{x + 2}" y="{y + 2}" width="{CELL - 4}" height="{CELL - 4}" rx="3"'
            parts.append(f'<rect {box} fill="#0072B2" fill-opacity="{ink:.2f}" {frame}/>')
            if weight:
                said = f"{weight:.2f}".removeprefix("0") if math.isfinite(weight) else "nan"
                spot = f'x="{x + CELL / 2:g}" y="{y + CELL / 2 + 4:g}"'
                colour = "#FFFFFF" if ink > 0.6 else TEXT
                parts.append(f'<text {spot} font-size="11" text-anchor="middle" fill="{colour}">{said[:4]}</text>')
    end = CELL * len(weights)
    for at in range(tile, len(weights), tile):
        here = CELL * at
        parts.append(f'<path d="M{here} 22V{end + 26}M-2 {here + 24}H{end + 2}" stroke="{TEXT}" stroke-width="2"/>')
    return "".join(parts)
