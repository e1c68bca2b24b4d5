"""Figures as a page of their own: one file that needs nothing else and follows the reader's theme."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
</head>
<body>
{figures}
<p style="font-family: system-ui, sans-serif; margin: 1em 70px">{text}</p>
</body>
</html>
"""


def html_page(title: str, figures: Sequence[go.Figure], text: str) -> str:
    """HTML: the figures one below the other, then a text. The same figures give the same bytes."""
    config = {"responsive": True, "displaylogo": False}
    parts = [
        figure.to_html(include_plotlyjs=number == 0, full_html=False, config=config, div_id=f"figure-{number}")
        for number, figure in enumerate(figures)
    ]
    return _PAGE.format(title=escape(title), figures="\n".join(parts), text=escape(text))
