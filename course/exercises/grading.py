"""Grades one notebook: each exercise's cell through the judge, a result for each, whatever the notebook holds."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.exercises import registry
from course.exercises.definition import Exercise
from course.exercises.judge import judge
from course.exercises.submission import Cell, find_answer, lesson_of, names_in, read_cells
from course.exercises.verdict import Verdict
from course.exercises.warm import Warm, shared


@dataclass(frozen=True)
class Result:
    """One exercise: the verdict, and a note on how its cell was found."""

    verdict: Verdict
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self.verdict.as_dict() | {"note": self.note}


@dataclass(frozen=True)
class Report:
    """One notebook."""

    file: str
    lesson: str
    results: list[Result] = field(default_factory=list)
    problem: str = ""

    @property
    def points(self) -> int:
        """What was earned."""
        return sum(result.verdict.points for result in self.results)

    @property
    def max_points(self) -> int:
        """What could be earned."""
        return sum(result.verdict.max_points for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        head = {"submission": self.file, "lesson": self.lesson, "points": self.points, "max_points": self.max_points}
        return head | {"problem": self.problem, "exercises": [result.as_dict() for result in self.results]}


def grade_notebook(
    path: Path, lesson: str | None = None, *, seed: int | None = None, warm: Warm | None = None
) -> Report:
    """Grade a notebook as its lesson's; a ``UserError`` where there is none to be read."""
    cells = read_cells(path)
    folder = lesson_for(cells, path) if lesson is None else registry.lesson_named(lesson)
    seed = secrets.randbits(32) if seed is None else seed
    results = [grade_exercise(exercise, cells, seed, warm or shared()) for exercise in registry.load(folder)]
    return Report(str(path), folder, results)


def lesson_for(cells: list[Cell], path: Path) -> str:
    """The lesson that a notebook belongs to."""
    name = lesson_of(cells, path)
    try:
        return registry.lesson_named(name)
    except UserError as error:
        raise UserError(f"{path} names no known lesson: say with --lesson which one it belongs to") from error


def grade_exercise(exercise: Exercise, cells: list[Cell], seed: int, warm: Warm) -> Result:
    """One exercise of a notebook. Nothing that a cell holds can end this but with a result."""
    found = find_answer(exercise, cells)
    if found.cell is None:
        verdict = Verdict(exercise.id, "not attempted", 0, exercise.points, found.note)
        return Result(verdict)
    elsewhere = names_in(cell for cell in cells if cell is not found.cell)

    def earlier(below: Exercise) -> str | None:
        """In a lab the learner's own cell, and never the reference."""
        if not below.is_lab:
            return below.reference_text
        cell = find_answer(below, cells).cell
        return cell.text if cell else None

    try:
        verdict = judge(exercise, found.cell.text, seed=seed, elsewhere=elsewhere.get, earlier=earlier, warm=warm)
    except Exception as error:  # a fault of ours, or an answer that provokes one: no points, and the class goes on
        said = f"This answer could not be judged ({type(error).__name__}: {error}). Please tell your teacher."
        verdict = Verdict(exercise.id, "failed", 0, exercise.points, said)
    return Result(verdict, found.note)


def unreadable(path: Path, lesson: str, problem: str) -> Report:
    """A report for what could not be graded: zero points for everything."""
    results = [
        Result(Verdict(exercise.id, "not attempted", 0, exercise.points, "The notebook could not be read."))
        for exercise in registry.load(lesson)
    ]
    return Report(str(path), lesson, results, problem)
