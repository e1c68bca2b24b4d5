"""How far a learner has come: in this notebook, and in the course."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from course.exercises import progress, registry
from course.exercises.feedback import COLOURS, SIGNS
from course.exercises.notebook import handed_in


@dataclass(frozen=True)
class Line:
    """One exercise and how it stands: passed, failed, not attempted."""

    id: str
    points: int
    status: str


class Scorecard:
    """Displays itself in a notebook and in a terminal."""

    def __init__(self, lines: list[Line], course: list[tuple[str, int, int]]) -> None:
        self.lines, self.course = lines, course

    def __repr__(self) -> str:
        rows = [f"{SIGNS[line.status]} {line.id:<36} {self.earned(line)}/{line.points}" for line in self.lines]
        rows += [f"  {lesson:<36} {done} of {total} exercises" for lesson, done, total in self.course]
        return "\n".join(rows) or "No exercises yet."

    def _repr_html_(self) -> str:
        cell = "text-align:left;padding:.15em .8em .15em 0"
        rows = [
            f'<tr><td style="{cell}"><span style="color:{COLOURS[line.status]}">{SIGNS[line.status]}</span> '
            f'{line.status}</td><td style="{cell}"><code>{escape(line.id)}</code></td>'
            f'<td style="{cell}">{self.earned(line)}/{line.points}</td></tr>'
            for line in self.lines
        ]
        rows += [
            f'<tr><td style="{cell}">{progress_bar(done, total)}</td><td style="{cell}">{escape(lesson)}</td>'
            f'<td style="{cell}">{done} of {total}</td></tr>'
            for lesson, done, total in self.course
        ]
        style = "border-collapse:collapse;color:var(--jp-content-font-color1,inherit);background:none;font:inherit"
        return f'<table style="{style}">{"".join(rows)}</table>'

    @staticmethod
    def earned(line: Line) -> int:
        """The points that an exercise has brought."""
        return line.points if line.status == "passed" else 0


def progress_bar(done: int, total: int) -> str:
    """Filled and empty squares: readable without colours."""
    return "■" * done + "□" * (total - done)


def scorecard(*lessons: str) -> Scorecard:
    """This notebook's exercises one by one (or those of the lessons named), then all lessons with something solved."""
    wanted = lessons or tuple(dict.fromkeys(exercise_id.split(".")[0] for exercise_id in handed_in))
    kept = progress.all_solved()
    lines = [
        Line(exercise.id, exercise.points, status_of(exercise.id, kept))
        for lesson in wanted
        for exercise in registry.load(lesson)
    ]
    shown = {registry.lesson_named(lesson) for lesson in wanted}
    course = []
    started = {exercise_id.split(".")[0] for exercise_id in kept}
    for lesson in registry.folders():
        if lesson in shown or not any(lesson == name or lesson.startswith(name + "_") for name in started):
            continue  # loading an untouched lesson's exercises would import torch for nothing
        known = registry.load(lesson)
        course.append((lesson, sum(exercise.id in kept for exercise in known), len(known)))
    return Scorecard(lines, course)


def status_of(exercise_id: str, kept: dict[str, progress.Solved]) -> str:
    """The last verdict of this kernel, or what is remembered."""
    if exercise_id in handed_in and not (handed_in[exercise_id].verdict.not_attempted and exercise_id in kept):
        return handed_in[exercise_id].verdict.status
    return "passed" if exercise_id in kept else "not attempted"
