"""Grades a class: a folder of notebooks in parallel, one CSV, one page of feedback for each student."""

from __future__ import annotations

import csv
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

from course.errors import UserError
from course.exercises import registry
from course.exercises.feedback import as_html
from course.exercises.grading import Report, Result, grade_notebook, unreadable
from course.exercises.show import many
from course.exercises.warm import Warm

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>body {{ font-family: system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }}</style>
</head><body><h1>{title}</h1><p><strong>{points} of {max_points} points</strong></p>
{problem}{exercises}
</body></html>
"""


def grade_folder(lesson: str, folder: Path, *, seed: int | None = None, jobs: int | None = None) -> dict[str, Report]:
    """Every notebook below a folder, by student; all get the same random inputs. Never stops at a bad one."""
    from tqdm import tqdm

    lesson = registry.lesson_named(lesson)
    registry.load(lesson)  # once, before threads ask for it
    notebooks = dict(notebooks_in(folder))
    if not notebooks:
        raise UserError(f"there is no notebook in {folder}: give the folder with the students' .ipynb files")
    seed = secrets.randbits(32) if seed is None else seed
    own = threading.local()
    children: list[Warm] = []

    def grade(path: Path) -> Report:
        if not hasattr(own, "warm"):
            own.warm = Warm()
            children.append(own.warm)
        try:
            return grade_notebook(path, lesson, seed=seed, warm=own.warm)
        except Exception as error:
            return unreadable(path, lesson, str(error).replace(str(path), path.name))  # students read it, too

    try:
        with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
            graded = pool.map(grade, notebooks.values())
            bar = tqdm(graded, total=len(notebooks), desc=lesson, unit="notebook", file=sys.stderr)
            return dict(zip(notebooks, bar, strict=True))
    finally:
        for child in children:
            child.stop()


def notebooks_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Students and their notebooks: ``ada.ipynb``, ``ada/lab1.ipynb``; where that is not unique, the whole path."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the one with the students' notebooks")
    paths = [path for path in sorted(folder.rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts]
    names = [path.relative_to(folder).with_suffix("").parts[0] for path in paths]
    for name, path in zip(names, paths, strict=True):
        yield (name if names.count(name) == 1 else str(path.relative_to(folder).with_suffix(""))), path


def write_csv(reports: dict[str, Report], file: Path) -> None:
    """One row for each student."""
    ids = [result.verdict.id for result in next(iter(reports.values())).results]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(["student", "file", "points", "max_points", *ids, "problem"])
        for student, report in reports.items():
            earned = [result.verdict.points for result in report.results]
            row = [harmless(student), harmless(report.file), report.points, report.max_points]
            writer.writerow([*row, *earned, harmless(report.problem)])


def harmless(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t")) else text


def write_pages(reports: dict[str, Report], folder: Path) -> None:
    """One page of feedback for each student."""
    folder.mkdir(parents=True, exist_ok=True)
    for student, report in reports.items():
        name = student.replace(os.sep, "__")
        (folder / f"{name}.html").write_text(page(student, report), encoding="utf-8")


def page(student: str, report: Report) -> str:
    """The feedback on one notebook."""
    return PAGE.format(
        title=escape(f"{report.lesson}: {student}"),
        points=report.points,
        max_points=report.max_points,
        problem=f"<p><strong>{escape(report.problem)}</strong></p>\n" if report.problem else "",
        exercises="\n".join(as_html(result.verdict, remark(result)) for result in report.results),
    )


def remark(result: Result) -> str:
    """What an exercise earned, and how its cell was found."""
    return f"{result.verdict.points} of {many(result.verdict.max_points, 'point')}. {result.note}".rstrip()
