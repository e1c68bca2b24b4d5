"""From the percent format to the cells of a notebook.

A cell's header may carry

    id="..."            a name that never changes; without one, the id follows from what the cell says
    tags=["..."]        tags of the cell: nbval-ignore-output where a clock or a float decides what is printed
    exercise="a.b"      the cell is replaced by that exercise's cell

and in a lab

    check="lab1.b"      the cell is replaced by the locked check of that exercise
    locked=true         a cell that the student shall not change

Ids do not depend on a cell's place: a cell put in elsewhere changes no other id. What stands above the first header
is the author's (``# draft``, ``# ruff: noqa``) and not in the notebook.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import jupytext
import nbformat

from course.curriculum import homework
from course.curriculum.exercise_cells import CellText
from course.curriculum.sources import Source
from course.errors import UserError

MARKERS = ("id", "tags", "exercise", "check", "locked")
OF_LABS = {"check", "locked"}
NOISE = ("lines_to_next_cell", "lines_to_end_of_cell_marker")  # jupytext's own
KNOWN_TAGS = ("nbval-ignore-output", "nbval-skip", "hide-input")
IGNORED = "nbval-ignore-output"


def cells_of(source: Source, exercise_text: CellText) -> list[nbformat.NotebookNode]:
    """The lesson's cells without outputs: texts, ids and metadata final."""
    parsed = jupytext.reads(source.text, fmt="py:percent").cells
    if not source.text.startswith("# %%"):
        parsed = parsed[1:]
    cells = [_cell(source, number, cell, exercise_text) for number, cell in enumerate(parsed, 1)]
    repeated = [cell_id for cell_id, times in Counter(cell.id for cell in cells).items() if times > 1]
    if repeated:
        raise UserError(f'{source.where}: two cells have the id {repeated[0]!r}; give one of them id="..."')
    return cells


def _cell(source: Source, number: int, parsed: nbformat.NotebookNode, exercise_text: CellText) -> nbformat.NotebookNode:
    found = {key: value for key, value in parsed.metadata.items() if key not in NOISE}
    _check_markers(source, number, found)
    text = parsed.source.strip("\n")
    metadata: dict[str, object] = {}
    cell_id = found.get("id") or _id_from(parsed.cell_type, text)
    if tags := found.get("tags"):
        metadata["tags"] = list(tags)
    if exercise := found.get("exercise"):
        text = exercise_text(exercise)
        metadata |= homework.answer(exercise) if source.is_lab else {"course": {"exercise": exercise}}
        cell_id = found.get("id") or f"exercise-{exercise.replace('.', '-')}"
    if checked := found.get("check"):
        text, metadata = homework.check(checked)
        cell_id = f"check-{checked.replace('.', '-')}"
    if found.get("locked"):
        metadata |= homework.given(cell_id, text)
    if not text:
        raise UserError(f"{source.where}: cell {number} is empty; remove it")
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell_id):
        raise UserError(f"{source.where}: cell {number} has the id {cell_id!r}; use 1 to 64 of a-z, 0-9, - and _")
    make = nbformat.v4.new_code_cell if parsed.cell_type == "code" else nbformat.v4.new_markdown_cell
    return make(text, id=cell_id, metadata=metadata)


def _check_markers(source: Source, number: int, found: dict[str, object]) -> None:
    """A mistyped marker would be ignored in silence: refuse it instead."""
    if unknown := found.keys() - (set(MARKERS) if source.is_lab else set(MARKERS) - OF_LABS):
        known = ", ".join(name for name in MARKERS if source.is_lab or name not in OF_LABS)
        raise UserError(f"{source.where}: cell {number} has the marker {min(unknown)!r}; known are {known}")
    tags = found.get("tags", [])
    if not isinstance(tags, list) or set(tags) - set(KNOWN_TAGS):
        raise UserError(f"{source.where}: cell {number} has tags {tags!r}; known are {', '.join(KNOWN_TAGS)}")


def _id_from(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()[:10]
