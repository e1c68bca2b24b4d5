"""A picture with controls. Live in a notebook; anywhere else, and in builds and tests, its default picture."""

from __future__ import annotations

import html
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from course.errors import UserError
from course.widgets.controls import Control, check

if TYPE_CHECKING:
    from course.widgets.live import LiveExplorer

INVITATION = "Run this cell to move the controls."


def is_live() -> bool:
    """Whether controls can be moved here: in a Jupyter kernel, unless ``COURSE_WIDGETS=0``."""
    if os.environ.get("COURSE_WIDGETS", "") == "0" or "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class Explorer:
    """A pure function that draws, and the controls that set its parameters.

    ``figure`` and ``summary`` are called with one keyword argument for each control; ``summary`` answers with
    one line of text. Make it the last line of a cell to show it. Arguments that no control sets, such as a
    learner's own function, are bound before: ``Explorer(partial(figure, ttft=ttft), ...)``.
    """

    def __init__(
        self,
        figure: Callable[..., go.Figure],
        controls: Sequence[Control],
        summary: Callable[..., str],
    ) -> None:
        names = [control.name for control in controls]
        if len(set(names)) != len(names):
            raise UserError(f"two controls set the same parameter; the names are {', '.join(names)}")
        self.figure = figure
        self.controls = tuple(controls)
        self.summary = summary
        for control in controls:
            check(control, control.value)

    @property
    def defaults(self) -> dict[str, Any]:
        """Where the controls stand at first."""
        return {control.name: control.value for control in self.controls}

    def draw(self, **values: Any) -> tuple[go.Figure, str]:
        """The picture and its summary with some controls moved and the others at their defaults."""
        known = {control.name: control for control in self.controls}
        if unknown := values.keys() - known.keys():
            raise UserError(f"there is no control {min(unknown)!r}; there are {', '.join(known)}")
        settings = self.defaults | {name: check(known[name], value) for name, value in values.items()}
        return self.figure(**settings), self.summary(**settings)

    def live(self) -> LiveExplorer:
        """The form with controls that can be moved."""
        from course.widgets.live import LiveExplorer

        return LiveExplorer(self)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if is_live():
            display(self.live().box)
            return
        figure, summary = self.draw()
        # Only the data of the figure: other forms that plotly may add hold a copy of its whole program.
        display({"application/vnd.plotly.v1+json": bundle(figure), "text/plain": summary}, raw=True)
        # As a text and not printed: JupyterLab breaks printed lines inside of words.
        display({"text/html": line_of_text(f"{summary} {INVITATION}"), "text/plain": INVITATION}, raw=True)


def line_of_text(text: str, attributes: str = "") -> str:
    """The line below a picture."""
    return f'<div {attributes}style="font-size: 15px; line-height: 1.5; padding: 0 4px">{html.escape(text)}</div>'


CONFIG = {"displaylogo": False, "responsive": True}


def bundle(figure: go.Figure) -> dict[str, Any]:
    """What JupyterLab needs to draw a figure, without a network."""
    return {**figure.to_plotly_json(), "config": CONFIG}
