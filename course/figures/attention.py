"""Which token looks at which."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from course.figures.palette import GRID, SHADES
from course.figures.style import new_figure, say_count

Matrix = Sequence[Sequence[float]]

LONGEST = 60
"""Beyond that many tokens, labels stop being legible and are left out."""

RIGHT_EDGE = 0.65
"""Where the map ends at most, as a share of the figure's width."""


def attention_pattern(tokens: Sequence[str], weights: Matrix, title: str = "Who looks at whom") -> go.Figure:
    """A heat map: row i shows how token i spreads its attention over the tokens up to itself.

    ``weights[i][j]`` is the weight of token j for token i; every row sums to 1. What a causal mask forbids (j > i)
    stays empty, unlike a weight of zero beside it.
    """
    positions = list(range(len(tokens)))
    rows = [[round(w, 4) if j <= i else None for j, w in enumerate(row)] for i, row in enumerate(weights)]
    bar = {"title": {"text": "weight", "side": "right"}, "thickness": 14, "tickformat": ".0%", "outlinewidth": 0}
    bar |= {"x": RIGHT_EDGE + 0.02, "y": 1, "yanchor": "top", "len": 0.7}
    heat = go.Heatmap(
        z=rows,
        x=positions,
        y=positions,
        zmin=0,
        zmax=1,
        colorscale=SHADES,
        colorbar=bar,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        customdata=[[f"{token!r} looks at {other!r}" for other in tokens] for token in tokens],
        hovertemplate="%{customdata}: %{z:.0%}<extra></extra>",
    )
    axes = {"xaxis": _axis(tokens, "looks at"), "yaxis": _axis(tokens, "this token") | {"autorange": "reversed"}}
    axes["xaxis"] |= {"side": "bottom", "tickangle": -60}
    # A square, as wide as there is room, beside its colour bar.
    axes["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
    axes["xaxis"] |= {"constrain": "domain", "constraintoward": "left", "domain": [0, RIGHT_EDGE]}
    return new_figure([heat], title, height=580, margin={"t": 60}, **axes)


def attention_summary(tokens: Sequence[str], weights: Matrix) -> str:
    """How many tokens, and where the last one looks most."""
    if not tokens:
        return "No tokens."
    last = list(weights[-1])
    top = max(range(len(last)), key=lambda j: last[j])
    most = f"{tokens[top]!r} ({last[top]:.0%})"
    return f"{say_count(len(tokens), 'token')}; the last, {tokens[-1]!r}, looks most at {most}."


def _axis(tokens: Sequence[str], text: str) -> dict[str, object]:
    shown = [token.replace(" ", "␣").replace("\n", "⏎") or "∅" for token in tokens]
    return {
        "title": {"text": text},
        "tickvals": list(range(len(tokens))) if len(tokens) <= LONGEST else [],
        "ticktext": shown if len(tokens) <= LONGEST else [],
        "tickfont": {"size": 13},
        "showgrid": False,
        "showline": False,
        "ticks": "",
        "gridcolor": GRID,
    }
