"""From a lesson's text to its notebook, before anything is executed: the same text, the same bytes."""

from __future__ import annotations

import nbformat

from course.curriculum.cells import cells_of
from course.curriculum.exercise_cells import CellText, cell_text
from course.curriculum.frame import closing, opening
from course.curriculum.sources import Source

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook_of(
    source: Source, *, solutions: bool = False, exercise_text: CellText | None = None
) -> nbformat.NotebookNode:
    """The lesson's notebook, not yet executed."""
    cells = cells_of(source, exercise_text or cell_text(solutions))
    notebook = nbformat.v4.new_notebook(cells=[opening(source), *cells, closing(source)], metadata=METADATA)
    notebook.nbformat_minor = 5
    return notebook


def text_of(notebook: nbformat.NotebookNode) -> str:
    """The file's text: always the same for the same notebook."""
    return nbformat.writes(notebook) + "\n"
