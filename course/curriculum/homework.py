"""The cells of a lab: which are the student's, which are locked, what each is worth, and whether they are still so.

JupyterLab reads ``deletable`` and ``editable``. nbgrader reads its own block: it clears what is a solution, puts back
what is locked, and gives a locked check's points where the cell raises nothing. Other editors read neither, so a locked
cell also notes what it says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from course.exercises.definition import Exercise
from course.exercises.registry import find
from course.exercises.submission import Cell

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
    return text, _locked(text) | _nbgrader(_check_id(exercise_id), grade=True, locked=True, points=points)


def given(cell_id: str, text: str) -> dict[str, Any]:
    """A cell that stays as it is, such as the imports."""
    return _locked(text) | _nbgrader(cell_id, locked=True)


def notices(exercises: Iterable[Exercise], cells: Sequence[Cell]) -> Iterator[str]:
    """What is no longer as it was handed out, one sentence each. None of it costs points here."""
    known = {cell.grade_id: cell for cell in cells if cell.grade_id}
    labs = [exercise.id for exercise in exercises if exercise.is_lab]
    if labs and not known:
        yield (
            "The notebook has lost the metadata of its cells; some editors do not keep them. It is judged here all the "
            "same, but a teacher's nbgrader will not find the cells: copy your answers into a fresh copy of the lab."
        )
        return
    for exercise_id in labs:
        if _grade_id(exercise_id) not in known:
            yield f"The cell handed out for {exercise_id} is gone; an answer elsewhere is found by its @exercise line."
        if _check_id(exercise_id) not in known:
            yield f"The locked check cell of {exercise_id} is gone."
    for grade_id, cell in known.items():
        noted = cell.metadata.get("course")
        if isinstance(noted, dict) and noted.get("locked") not in (None, _digest(cell.text)):
            yield f"The locked cell `{grade_id}` is not as it was handed out; what you change there does not count."


def _locked(text: str) -> dict[str, Any]:
    return {"course": {"locked": _digest(text)}, "deletable": False, "editable": False}


def _digest(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()[:12]


def _grade_id(exercise_id: str) -> str:
    return exercise_id.replace(".", "-")  # nbgrader's ids have no points


def _check_id(exercise_id: str) -> str:
    return f"check-{_grade_id(exercise_id)}"


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
