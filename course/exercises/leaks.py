"""Proves that what students get holds no answer to a lab: its lines are looked for in every file.

Secret are a lab's ``solutions.py``, ``hidden.py`` and planted mistakes: each line, in code or quoted in it, that could
not stand elsewhere by chance and is not taught in a lesson. Spaces and line breaks do not count, so an answer is also
found indented, wrapped, or in a notebook's JSON. An answer in other words or with other names is not found: its
author's care keeps that out, and nothing else.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.exercises.definition import Exercise

SHORTEST = 24
"""Characters, spaces not counted: in fewer, two people write the same line without knowing of each other."""

SECRET_FILES = ("hidden.py", "solutions.py")
COMPILED = (".pyc", ".pyo", ".pyd", ".so")
SPACE = b" \t\r\n\f\v"
READABLE = re.compile(rb"(?:[\s\x20-\x7e]|[\xc2-\xf4][\x80-\xbf]+){16,}")
"""Text in a binary file; to look for every line in all of its bytes would take long."""

ESCAPED = ((b"\\n", b""), (b"\\t", b""), (b'\\"', b'"'), (b"\\'", b"'"), (b"\\\\", b"\\"))


@dataclass(frozen=True)
class Leak:
    """A secret line and the file that holds it."""

    file: str
    line: str
    whose: str

    def __str__(self) -> str:
        return f"{self.file} holds `{self.line}` ({self.whose})"


def secrets_of(exercises: Sequence[Exercise], folder: Path, taught: bytes) -> dict[str, str]:
    """The secret lines of a lab whose definitions stand in ``folder``, and what each belongs to.

    ``taught`` is what the lessons say anyhow, squeezed. Raises ``UserError`` where a reference or a hidden check has no
    line of its own: nothing could be looked for.
    """
    shown = taught + b"".join(squeezed(exercise.stub) for exercise in exercises)
    public = shown + squeezed(_read(folder / "exercises.py"))
    found: dict[str, str] = {}
    for exercise in exercises:
        found |= _needed(f"the reference of {exercise.id}", exercise.reference_text, shown)
        for check in exercise.checks:
            if check.hidden:
                found |= _needed(f"{exercise.id}'s hidden check {check.name}", inspect.getsource(check.cases), public)
        for mistake in exercise.mistakes:
            found = _lines(f"{exercise.id}'s mistake {mistake.name!r}", mistake.text, shown) | found
    for name, known in zip(SECRET_FILES, (public, shown), strict=True):
        text = _read(folder / name)
        found = _lines(f"{folder.name}/{name}", "\n".join([text, *quoted_in(text)]), known) | found
    return found


def quoted_in(code: str) -> Iterator[str]:
    """The strings in a Python file: a nudge or a mistake's text is a secret also without its quotes."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _needed(whose: str, text: str | None, public: bytes) -> dict[str, str]:
    if text is None:
        return {}
    lines = _lines(whose, text, public)
    if not lines:
        raise UserError(
            f"{whose} cannot be kept secret: none of its lines has {SHORTEST} characters and stands only there"
        )
    return lines


def _lines(whose: str, text: str, public: bytes) -> dict[str, str]:
    lines = (line.strip() for line in text.splitlines())
    return {line: whose for line in lines if is_distinctive(line) and squeezed(line) not in public}


def is_distinctive(line: str) -> bool:
    """Whether a line says enough to be recognised; imports never do."""
    return len(squeezed(line)) >= SHORTEST and not line.startswith(("import ", "from "))


def squeezed(text: str | bytes) -> bytes:
    """The text without any white space."""
    return (text.encode() if isinstance(text, str) else text).translate(None, SPACE)


def leaks(files: Mapping[str, bytes], secrets: Mapping[str, str]) -> list[Leak]:
    """Every secret line that a file holds; compiled code counts as a leak, for nothing can be read in it."""
    wanted = [(squeezed(line), line, whose) for line, whose in secrets.items()]
    found = []
    for name, data in files.items():
        views = list(views_of(name, data))
        found += [Leak(name, line, whose) for key, line, whose in wanted if any(key in view for view in views)]
        if name.endswith(COMPILED):
            found.append(Leak(name, name.rpartition("/")[2], "compiled code"))
    return found


def views_of(name: str, data: bytes) -> Iterator[bytes]:
    """What is to be read in a file, without white space: as it stands, without escapes, JSON's strings, an archive."""
    is_text = _is_text(data)
    plain = squeezed(data if is_text else b"\n".join(READABLE.findall(data)))
    yield plain
    if is_text and b"\\" in plain:
        for escaped, character in ESCAPED:
            plain = plain.replace(escaped, character)
        yield plain
    if name.endswith(".ipynb"):
        with contextlib.suppress(ValueError, RecursionError):  # not JSON: then it was read as it stands
            yield squeezed("".join(strings_in(json.loads(data))))
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield from views_of(member, archive.read(member))


def strings_in(value: Any) -> Iterable[str]:
    """Every string in a value read from JSON, in order."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings_in(inner)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""
