"""What stands around every lesson, made from the table of contents: title, time, and the way to the neighbours."""

from __future__ import annotations

import nbformat

from course.curriculum.contents import Lesson
from course.curriculum.sources import Source

CONTENTS_LINK = "[Contents](index.ipynb)"


def opening(source: Source) -> nbformat.NotebookNode:
    """The first cell."""
    lesson = source.lesson
    lines = [
        navigation(source),
        "",
        f"# {lesson.number:02d} · {lesson.title}",
        "",
        f"**{lesson.question}** About {lesson.time}.",
    ]
    return nbformat.v4.new_markdown_cell("\n".join(lines), id="opening")


def closing(source: Source) -> nbformat.NotebookNode:
    """The last cell."""
    return nbformat.v4.new_markdown_cell(f"---\n\n{navigation(source)}", id="closing")


def navigation(source: Source) -> str:
    """Previous, contents, next; a neighbour that is not there yet is left out."""
    before = f"← {_link(source.previous)}" if source.previous else ""
    after = f"{_link(source.next)} →" if source.next else ""
    return " · ".join(filter(None, (before, CONTENTS_LINK, after)))


def _link(lesson: Lesson) -> str:
    return f"[{lesson.number:02d} {lesson.title}]({lesson.file})"
