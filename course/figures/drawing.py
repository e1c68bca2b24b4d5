"""An SVG picture that is seen in a notebook as soon as it is opened.

JupyterLab shows an output of kind SVG only where the notebook was run by whoever looks at it, for it may hold a
program. As the source of an image it cannot run any, so that is how a `Drawing` shows itself.
"""

from __future__ import annotations

import re
from base64 import b64encode
from html import unescape


class Drawing:
    """Make it the last line of a cell: ``Drawing(prefix_tree(blocks))``. Its text is the picture's ``aria-label``."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def __repr__(self) -> str:
        found = re.search(r'aria-label="([^"]*)"', self.svg)
        return unescape(found[1]) if found else "a drawing"

    def _repr_html_(self) -> str:
        label = re.search(r'aria-label="([^"]*)"', self.svg)
        data = b64encode(self.svg.encode()).decode()
        return f'<img alt="{label[1] if label else ""}" src="data:image/svg+xml;base64,{data}">'
