"""Builds notebooks/index.ipynb, the page that ``make lab`` opens, from the table of contents.

``python -m course.curriculum.index`` writes it, executed.
"""

from __future__ import annotations

import os

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course.curriculum.contents import NOTEBOOKS, ROOT, Contents, Lesson, contents

INDEX = NOTEBOOKS / "index.ipynb"
TINY_MODEL = ROOT / "course" / "model" / "tiny" / "config.json"  # the page can do without it

OPENING = """\
# {title}

A course in notebooks. You start from attention and end with prefill and decode running on separate workers.
On the way you write the decisive lines yourself, and see on real runs and in a simulator what each of them does
to the two numbers a user feels:

- **TTFT**, the time to the first token: how long until the answer begins;
- **TPOT**, the time per output token: how fast it then flows.

Everything runs on this machine. No GPU, no download, no network.

To run a cell, click into it and press **Shift + Enter**. Try it with the one below."""

CHECK = """\
from course.curriculum.welcome import check_installation

check_installation()"""

MODEL_INTRO = """\
## Your first request

The model that you will serve is tiny: five million parameters, trained for this course, part of it. It is no great
author, but it answers at once. Here are the two numbers, for the first time:"""

MODEL = """\
from course.engine.local import LocalEngine
from course.metrics.latency import tpot_s, ttft_s

engine = LocalEngine("tiny")
prompt = "A list is"
[answer] = engine.generate(prompt, max_new_tokens=24)
[record] = engine.recorder.records

print(prompt + answer.text)
print(f"TTFT {1000 * ttft_s(record):.0f} ms, TPOT {1000 * tpot_s(record):.1f} ms on this machine")"""


def lesson_row(lesson: Lesson) -> str:
    """One line of the table; only a lesson that is here is a link."""
    title = f"**[{lesson.title}]({lesson.file})**" if lesson.is_ready else lesson.title
    return f"| {lesson.number:02d} | {title} | {lesson.question} | {lesson.time} |"


def lesson_table(course: Contents) -> str:
    """All lessons, part by part."""
    ready = sum(lesson.is_ready for lesson in course.lessons)
    lines = ["## Lessons", ""]
    if ready < len(course.lessons):
        lines += [f"The lessons are added in order: {ready or 'none'} of {len(course.lessons)} so far.", ""]
    lines += ["| | lesson | its question | time |", "|:--|:--|:--|:--|"]
    for part in course.parts:
        lines.append(f"| | *{part.title}* | | |")
        lines += map(lesson_row, part.lessons)
    return "\n".join(lines)


def index_notebook() -> nbformat.NotebookNode:
    """The page, not yet executed. Cell ids are given by hand, so that rebuilding changes nothing."""
    course = contents()
    cells = [new_markdown_cell(OPENING.format(title=course.title), id="opening"), new_code_cell(CHECK, id="check")]
    if TINY_MODEL.exists():
        measured = {"tags": ["nbval-ignore-output"]}  # another machine, other times
        cells += [
            new_markdown_cell(MODEL_INTRO, id="first-request"),
            new_code_cell(MODEL, id="answer", metadata=measured),
        ]
    cells.append(new_markdown_cell(lesson_table(course), id="lessons"))
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
