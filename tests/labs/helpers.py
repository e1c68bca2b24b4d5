"""The lab's notebook in every state that a class hands in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nbformat

from course.curriculum.contents import contents
from course.curriculum.notebook import notebook_of
from course.curriculum.sources import choose
from course.exercises import find, load

LAB = contents().labs[0]
HANDED_OUT = LAB.folder / LAB.file
EXERCISES = load("lab1")
CHECKS = {f"check-{exercise.id.replace('.', '-')}" for exercise in EXERCISES}


def solved() -> nbformat.NotebookNode:
    """The solution edition, not executed."""
    (source,) = choose([LAB.name])
    return notebook_of(source, solutions=True)


def handed_out() -> nbformat.NotebookNode:
    """What every student begins with."""
    return nbformat.read(HANDED_OUT, as_version=4)


def answered(answers: Mapping[str, str]) -> nbformat.NotebookNode:
    """The lab with other texts in the cells of some exercises, in which ``@exercise`` stands above the definition."""
    notebook = handed_out()
    for cell in notebook.cells:
        exercise_id = cell.metadata.get("course", {}).get("exercise", "")
        if (name := exercise_id.removeprefix("lab1.")) in answers:
            cell.source = answers[name].replace(f"def {name}(", f'@exercise("{exercise_id}")\ndef {name}(', 1)
    return notebook


def right(name: str) -> str:
    """The right answer to an exercise, without its first line."""
    return find(f"lab1.{name}").solution_cell.partition("\n")[2]


def wrong(name: str, mistake: str) -> str:
    """A planted mistake as a student would hand it in."""
    exercise = find(f"lab1.{name}")
    (text,) = (
        one.text.replace(f"def {one.target}(", f"def {name}(") for one in exercise.mistakes if one.name == mistake
    )
    return text


def save(notebook: nbformat.NotebookNode, file: Path) -> Path:
    """Write it where it is handed in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, file)
    return file
