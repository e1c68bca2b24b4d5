"""Where the text of a lesson stands: one folder per lesson, named after its place in the table of contents.

    course/curriculum/lesson_02_kv_cache/lesson.py      the text, in jupytext's percent format
    course/curriculum/lesson_02_kv_cache/exercises.py   its exercises
    course/curriculum/lesson_02_kv_cache/explorer.py    its pictures with sliders
    course/curriculum/lab1_kv_cache/lesson.py           the text of a lab

A lesson whose text begins with ``# draft`` is not offered yet: no notebook of it is committed, nothing links to it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course.curriculum.contents import Lab, Lesson, contents
from course.errors import UserError

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one lesson or lab, and a lesson's neighbours in the course."""

    lesson: Lesson | Lab
    text: str
    previous: Lesson | None = None
    next: Lesson | None = None

    @property
    def name(self) -> str:
        """``00_start_here``: what the lesson is called on the command line; its notebook without the suffix."""
        return self.lesson.file.removesuffix(".ipynb")

    @property
    def is_lab(self) -> bool:
        """Whether it is homework."""
        return isinstance(self.lesson, Lab)

    @property
    def is_draft(self) -> bool:
        """Whether it is still being written."""
        return self.text.startswith("# draft")

    @property
    def where(self) -> str:
        """The file, for messages."""
        return str(Path("course/curriculum") / text_file(self.lesson).relative_to(FOLDER))


def text_file(lesson: Lesson | Lab, folder: Path = FOLDER) -> Path:
    """Where a text stands or would stand."""
    name = lesson.file.removesuffix(".ipynb")
    return folder / (name if isinstance(lesson, Lab) else f"lesson_{name}") / "lesson.py"


def read_sources(folder: Path = FOLDER) -> list[Source]:
    """All lessons that have a text, in order. A neighbour is the nearest one that is no draft."""
    texts = {
        lesson: file.read_text(encoding="utf-8")
        for lesson in contents().lessons
        if (file := text_file(lesson, folder)).exists()
    }
    offered = [lesson for lesson, text in texts.items() if not text.startswith("# draft")]
    sources = []
    for lesson, text in texts.items():
        before = [other for other in offered if other.number < lesson.number]
        after = [other for other in offered if other.number > lesson.number]
        sources.append(Source(lesson, text, before[-1] if before else None, after[0] if after else None))
    return sources


def read_labs(folder: Path = FOLDER) -> list[Source]:
    """All labs that have a text, in order."""
    labs = [(lab, text_file(lab, folder)) for lab in contents().labs]
    return [Source(lab, file.read_text(encoding="utf-8")) for lab, file in labs if file.exists()]


def choose(names: Sequence[str], folder: Path = FOLDER) -> list[Source]:
    """The lessons and labs of those names ("00_start_here", "start_here" or "0"); of no names, all but drafts."""
    lessons, labs = read_sources(folder), read_labs(folder)
    sources = [*lessons, *labs]
    if not names:
        return [source for source in sources if not source.is_draft]
    known = {key: s for s in lessons for key in (str(s.lesson.number), f"{s.lesson.number:02d}")}
    known |= {f"lab{s.lesson.number}": s for s in labs} | {key: s for s in sources for key in (s.name, s.lesson.name)}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, [source.name for source in sources], n=1, cutoff=0.0)
            hint = f"the nearest is {near[0]!r}" if near else "none has a lesson.py yet"
            raise UserError(f"there is no lesson {name!r}; {hint}")
    return list({known[name].name: known[name] for name in names}.values())
