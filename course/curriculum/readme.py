"""Writes the README's tables of lessons and labs from the table of contents: ``python -m course.curriculum.readme``."""

from __future__ import annotations

import re

from course.curriculum.contents import ROOT, Contents, Lab, Lesson, contents

README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- lessons: .*? -->\n).*(<!-- end of lessons -->)", re.DOTALL)


def _row(lesson: Lesson) -> str:
    title = f"[{lesson.title}](notebooks/{lesson.file})" if lesson.is_ready else lesson.title
    return f"| {lesson.number:02d} | {title} | {lesson.question} | {lesson.time if lesson.is_ready else '*planned*'} |"


def _lab_row(lab: Lab) -> str:
    title = f"[{lab.title}](labs/{lab.name}/README.md)" if lab.is_ready else lab.title
    return f"| Lab {lab.number} | {title} | {lab.question} | {lab.time} |"


def lesson_table(course: Contents) -> str:
    """The tables, and a sentence on how far the course has come."""
    ready = sum(lesson.is_ready for lesson in course.lessons)
    lines = ["| | lesson | question | time |", "|:--|:--|:--|:--|", *map(_row, course.lessons)]
    if ready < len(course.lessons):
        here = f"{ready or 'None'} of the {len(course.lessons)} lessons are here; those without a link are planned."
        lines = [here, "", *lines]
    labs = ["", "And homework:", "", "| | lab | question | time |", "|:--|:--|:--|:--|", *map(_lab_row, course.labs)]
    return "\n".join([*lines, *labs])


def with_lessons(text: str) -> str:
    """The README's text with the table of today."""
    return BLOCK.sub(lambda found: f"{found[1]}{lesson_table(contents())}\n{found[2]}", text)


if __name__ == "__main__":
    README.write_text(with_lessons(README.read_text(encoding="utf-8")), encoding="utf-8")
