"""The text of an exercise's cell: what the student's notebook shows, and what the solution edition shows."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from course.curriculum.contents import contents
from course.errors import UserError

if TYPE_CHECKING:
    from course.exercises.definition import Exercise

CellText = Callable[[str], str]
"""From an exercise's id to the text of its cell."""


def stub_of(exercise_id: str) -> str:
    """The student's cell: signature and docstring, the body to be written."""
    return exercise_of(exercise_id).stub_cell.rstrip("\n")


def solution_of(exercise_id: str) -> str:
    """The same cell with the reference's body."""
    return exercise_of(exercise_id).solution_cell.rstrip("\n")


def cell_text(solutions: bool) -> CellText:
    """Which of the two an edition takes."""
    return solution_of if solutions else stub_of


def exercise_of(exercise_id: str) -> Exercise:
    """The exercise "lesson.name": ``name`` in the lesson's ``exercises.py``. Raises UserError if there is none."""
    lesson_name, _, name = exercise_id.partition(".")
    lesson = next((lesson for lesson in contents().lessons if lesson.name == lesson_name), None)
    if lesson is None:
        raise UserError(f"exercise {exercise_id!r}: there is no lesson {lesson_name!r} in contents.toml")
    module = f"course.curriculum.lesson_{lesson.file.removesuffix('.ipynb')}.exercises"
    if find_spec(module) is None:
        raise UserError(f"exercise {exercise_id!r}: its lesson has no exercises.py")
    found: Any = getattr(import_module(module), name, None)
    if getattr(found, "id", None) != exercise_id:
        raise UserError(f"exercise {exercise_id!r}: its lesson's exercises.py defines no such exercise")
    exercise: Exercise = found
    return exercise
