"""The cells of a lab: which are the student's, which are locked, and what each is worth.

JupyterLab reads ``deletable`` and ``editable``. nbgrader reads its own block: it clears what is a solution, puts back
what is locked, and gives a locked check's points where the cell raises nothing.
"""

from __future__ import annotations

from typing import Any

from course.exercises.registry import find

SCHEMA = 3
"""Of nbgrader's metadata; the one of nbgrader 0.6 and later."""


def answer(exercise_id: str) -> dict[str, Any]:
    """The student's cell."""
    metadata = {"course": {"exercise": exercise_id}, "deletable": False}
    return metadata | _nbgrader(_grade_id(exercise_id), solution=True)


def check(exercise_id: str) -> tuple[str, dict[str, Any]]:
    """Text and metadata of the locked cell that turns red or green."""
    points = find(exercise_id).points
    text = f'check_cell("{exercise_id}")  # locked: {points} point{"s" * (points != 1)}'
    locks = _nbgrader(f"check-{_grade_id(exercise_id)}", grade=True, locked=True, points=points)
    return text, {"deletable": False, "editable": False} | locks


def given(cell_id: str) -> dict[str, Any]:
    """A cell that stays as it is, such as the imports."""
    return {"deletable": False, "editable": False} | _nbgrader(cell_id, locked=True)


def _grade_id(exercise_id: str) -> str:
    return exercise_id.replace(".", "-")  # nbgrader's ids have no points


def _nbgrader(
    grade_id: str, *, grade: bool = False, solution: bool = False, locked: bool = False, points: int | None = None
) -> dict[str, Any]:
    block = {
        "cell_type": "code",
        "grade": grade,
        "grade_id": grade_id,
        "locked": locked,
        "schema_version": SCHEMA,
        "solution": solution,
        "task": False,
    }
    return {"nbgrader": block if points is None else block | {"points": points}}
