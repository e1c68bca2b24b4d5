"""The text of an exercise's cell: what the student's notebook shows, and what the solution edition shows."""

from __future__ import annotations

from collections.abc import Callable

from course.exercises.registry import find

CellText = Callable[[str], str]
"""From an exercise's id to the text of its cell."""


def stub_of(exercise_id: str) -> str:
    """The student's cell: signature and docstring, the body to be written."""
    return find(exercise_id).stub_cell.rstrip("\n")


def solution_of(exercise_id: str) -> str:
    """The same cell with the reference's body."""
    return find(exercise_id).solution_cell.rstrip("\n")


def cell_text(solutions: bool) -> CellText:
    """Which of the two an edition takes."""
    return solution_of if solutions else stub_of
