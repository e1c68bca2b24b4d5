"""The table of contents, read from contents.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
LABS = ROOT / "labs"


@dataclass(frozen=True, slots=True)
class Lesson:
    """One lesson: a question and the notebook that answers it."""

    number: int
    name: str
    title: str
    question: str
    minutes: int

    @property
    def file(self) -> str:
        """The name of its notebook."""
        return f"{self.number:02d}_{self.name}.ipynb"

    @property
    def folder(self) -> Path:
        """Where its notebook stands."""
        return NOTEBOOKS

    @property
    def heading(self) -> str:
        """Its title with its number."""
        return f"{self.number:02d} · {self.title}"

    @property
    def is_ready(self) -> bool:
        """Whether the notebook is here; lessons are added one after the other."""
        return (self.folder / self.file).exists()

    @property
    def time(self) -> str:
        """How long it takes, in words."""
        return f"{self.minutes} min" if self.minutes <= 90 else f"{self.minutes / 60:g} h"


@dataclass(frozen=True, slots=True)
class Lab:
    """Homework: a hand-out and a notebook to hand in, in a folder of its own."""

    number: int
    name: str
    title: str
    question: str
    minutes: int

    @property
    def file(self) -> str:
        """The name of its notebook."""
        return f"{self.name}.ipynb"

    @property
    def folder(self) -> Path:
        """Where its notebook and its hand-out stand."""
        return LABS / self.name

    @property
    def heading(self) -> str:
        """Its title with its number."""
        return f"Lab {self.number} · {self.title}"

    @property
    def is_ready(self) -> bool:
        """Whether the notebook is here."""
        return (self.folder / self.file).exists()

    @property
    def time(self) -> str:
        """How long it takes, in words."""
        return f"{self.minutes} min"


@dataclass(frozen=True, slots=True)
class Part:
    """Lessons that belong together."""

    title: str
    lessons: tuple[Lesson, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """The whole course."""

    title: str
    parts: tuple[Part, ...]
    labs: tuple[Lab, ...]

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """All lessons in order."""
        return tuple(lesson for part in self.parts for lesson in part.lessons)


def contents() -> Contents:
    """Read the table of contents; lessons are numbered from 0 in the order of the file, labs from 1."""
    table = tomllib.loads(Path(__file__).with_name("contents.toml").read_text(encoding="utf-8"))
    parts, number = [], 0
    for part in table["part"]:
        lessons = [Lesson(number + i, **fields) for i, fields in enumerate(part["lesson"])]
        number += len(lessons)
        parts.append(Part(part["title"], tuple(lessons)))
    labs = [Lab(i, **fields) for i, fields in enumerate(table["lab"], 1)]
    return Contents(table["title"], tuple(parts), tuple(labs))
