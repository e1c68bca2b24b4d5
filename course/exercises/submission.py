"""A learner's notebook file: which cell answers which exercise.

Only the code cells' text counts. Outputs are never read, nothing in the notebook is executed as it stands, and its
metadata merely helps where an ``@exercise`` line was deleted.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.exercises.definition import Exercise
from course.exercises.source import definition_of

MARK = re.compile(r"""^[ \t]*@(?:\w+\.)*exercise\(\s*["']([^"'\n]+)["']""", re.MULTILINE)
MOST_BYTES = 20 << 20


@dataclass(frozen=True)
class Cell:
    """A code cell."""

    text: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def marks(self) -> list[str]:
        """The ids of the exercises that it hands in."""
        return MARK.findall(self.text)

    @property
    def grade_id(self) -> str:
        """What nbgrader calls it; empty if it does not know the cell."""
        notes = self.metadata.get("nbgrader")
        grade_id = notes.get("grade_id") if isinstance(notes, dict) else None
        return grade_id if isinstance(grade_id, str) else ""

    @property
    def noted(self) -> set[str]:
        """The ids of exercises that its metadata names."""
        notes = self.metadata.get("course")
        named = notes.get("exercise") if isinstance(notes, dict) else None
        return {named} if isinstance(named, str) else set()


@dataclass(frozen=True)
class Found:
    """The cell that answers an exercise, and what is to be said about how it was found."""

    cell: Cell | None
    note: str = ""


def read_cells(path: Path) -> list[Cell]:
    """The code cells of a notebook file, whatever else is in it."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES >> 20} MB: clear its outputs and hand it in again")
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give the path of a notebook") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no notebook (not JSON): save it from Jupyter and hand it in again") from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise UserError(f"{path} has no cells: save it as an .ipynb of format 4 and hand it in again")
    return [cell for cell in map(_code_cell, cells) if cell]


def _code_cell(cell: Any) -> Cell | None:
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return None
    text, metadata = cell.get("source"), cell.get("metadata")
    if isinstance(text, list):
        text = "".join(line for line in text if isinstance(line, str))
    if not isinstance(text, str):
        return None
    lines = ("" if line.startswith("%%") else line for line in text.splitlines())
    return Cell("\n".join(lines) + "\n", metadata if isinstance(metadata, dict) else {})


def find_answer(exercise: Exercise, cells: list[Cell]) -> Found:
    """By its ``@exercise`` line; failing that, by the cell's metadata; failing that, by the name it defines."""
    marked = [cell for cell in cells if exercise.id in cell.marks]
    if marked:
        note = f"{len(marked)} cells hand this in; the last one counts." if len(marked) > 1 else ""
        return Found(marked[-1], note)
    noted = [cell for cell in cells if exercise.id in cell.noted and not cell.marks]
    defining = [cell for cell in cells if not cell.marks and definition_of(cell.text, exercise.name)]
    for candidates in (noted, defining):
        if candidates:
            return Found(candidates[-1], f'The line @exercise("{exercise.id}") is missing; keep it next time.')
    return Found(None, "No cell of the notebook hands this in.")


def lesson_of(cells: Iterable[Cell], path: Path) -> str:
    """The lesson that a notebook belongs to: by its exercises, else by its file's name."""
    for cell in cells:
        for mark in cell.marks:
            if mark.count(".") == 1:
                return mark.split(".")[0]
    return re.sub(r"^\d+_", "", path.stem)


def names_in(cells: Iterable[Cell]) -> dict[str, str]:
    """What cells define or import at their top level, and which of the two."""
    found: dict[str, str] = {}
    for cell in cells:
        try:
            statements = ast.parse(cell.text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in statements:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found[node.name] = "defined"
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                found |= {(alias.asname or alias.name).split(".")[0]: "imported" for alias in node.names}
            elif isinstance(node, ast.Assign):
                found |= {part.id: "defined" for part in node.targets if isinstance(part, ast.Name)}
    return found
