"""What stands around every lesson and lab, made from the table of contents: title, time, the way to others."""

from __future__ import annotations

import nbformat

from course.curriculum.contents import Lesson
from course.curriculum.sources import Source

CONTENTS_LINK = "[Contents](index.ipynb)"
LAB_LINKS = "[Contents](../../notebooks/index.ipynb) · [Hand-out](README.md)"


def opening(source: Source) -> nbformat.NotebookNode:
    """The first cell."""
    lesson = source.lesson
    lines = [
        navigation(source),
        "",
        f"# {lesson.heading}",
        "",
        f"**{lesson.question}** About {lesson.time}.",
    ]
    return nbformat.v4.new_markdown_cell("\n".join(lines), id="opening")


def closing(source: Source) -> nbformat.NotebookNode:
    """The last cell."""
    return nbformat.v4.new_markdown_cell(f"---\n\n{navigation(source)}", id="closing")


def navigation(source: Source) -> str:
    """Previous, contents, next; a neighbour that is not there yet is left out."""
    if source.is_lab:
        return LAB_LINKS
    before = f"← {_link(source.previous)}" if source.previous else ""
    after = f"{_link(source.next)} →" if source.next else ""
    return " · ".join(filter(None, (before, CONTENTS_LINK, after)))


def _link(lesson: Lesson) -> str:
    return f"[{lesson.number:02d} {lesson.title}]({lesson.file})"
