"""Builds notebooks/index.ipynb, the page that ``make lab`` opens, from the table of contents.

``python -m course.curriculum.index`` writes it, executed.
"""

from __future__ import annotations

import os

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course.curriculum.contents import NOTEBOOKS, ROOT, Contents, Lab, Lesson, contents

INDEX = NOTEBOOKS / "index.ipynb"

OPENING = """\
# {title}

A course in notebooks. You start from attention and end with prefill and decode running on separate workers.
On the way you write the decisive lines yourself, and see on real runs and in a simulator what each of them does
to the two numbers a user feels:

- **TTFT**, the time to the first token: how long until the answer begins;
- **TPOT**, the time per output token: how fast it then flows.

Everything runs on this machine. No GPU, no download, no network.

To run a cell, click into it and press **Shift + Enter**. Try it with the one below. It checks the installation, then
lets the course's own language model go on with a few words. The model is tiny (five million parameters) and no great
author, but it answers at once."""

LABS_ARE = """\
Homework: exercises that build on lessons, to be handed in. No reference helps out here; what is joined in the end is
yours."""

FIRST_REQUEST = """\
from course.curriculum.welcome import first_request

first_request("A list is")"""


def lesson_row(lesson: Lesson) -> str:
    """One line of the table; only a lesson that is here is a link and says how long it takes."""
    if not lesson.is_ready:
        return f"| {lesson.number:02d} | {lesson.title} | {lesson.question} | *planned* |"
    return (
        f"| {lesson.number:02d} | **[{lesson.title}]({lesson.file})** | {lesson.question} | {_unbroken(lesson.time)} |"
    )


def _unbroken(text: str) -> str:
    """In one line, however narrow the column."""
    return text.replace(" ", "&nbsp;")


def lesson_table(course: Contents) -> str:
    """All lessons, part by part."""
    ready = sum(lesson.is_ready for lesson in course.lessons)
    lines = ["## Lessons", ""]
    if ready < len(course.lessons):
        lines += [f"{ready or 'None'} of {len(course.lessons)} are here. Those without a link are planned.", ""]
    lines += ["| | lesson | its question | time |", "|:--|:--|:--|:--|"]
    for part in course.parts:
        lines.append(f"| | *{part.title}* | | |")
        lines += map(lesson_row, part.lessons)
    return "\n".join(lines)


def lab_row(lab: Lab) -> str:
    """One line of the labs' table: the notebook, and the hand-out beside it."""
    folder = f"../labs/{lab.name}"
    title = f"**[{lab.title}]({folder}/{lab.file})** ([hand-out]({folder}/README.md))" if lab.is_ready else lab.title
    return f"| Lab&nbsp;{lab.number} | {title} | {lab.question} | {_unbroken(lab.time)} |"


def lab_table(course: Contents) -> str:
    """All labs, and what they are."""
    lines = ["## Labs", "", LABS_ARE, "", "| | lab | its question | time |", "|:--|:--|:--|:--|"]
    return "\n".join([*lines, *map(lab_row, course.labs)])


def index_notebook() -> nbformat.NotebookNode:
    """The page, not yet executed. Cell ids are given by hand, so that rebuilding changes nothing."""
    course = contents()
    times_vary = {"tags": ["nbval-ignore-output"]}
    cells = [
        new_markdown_cell(OPENING.format(title=course.title), id="opening"),
        new_code_cell(FIRST_REQUEST, id="first-request", metadata=times_vary),
        new_markdown_cell(lesson_table(course), id="lessons"),
        new_markdown_cell(lab_table(course), id="labs"),
    ]
    return new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    )


def build() -> None:
    """Execute the page and write it."""
    from nbclient import NotebookClient  # a contributor's package: learners never build

    notebook = index_notebook()
    metadata = dict(notebook.metadata)
    client = NotebookClient(notebook, timeout=120, record_timing=False, store_widget_state=False)
    client.execute(cwd=str(NOTEBOOKS), env={**os.environ, "PYTHONPATH": str(ROOT)})
    notebook.metadata = nbformat.from_dict(metadata)  # without the exact Python that built it
    nbformat.validate(notebook)
    INDEX.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


if __name__ == "__main__":
    build()
