"""The samples that these tests judge, and a warm child that they share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples are the lessons; nothing is kept in the user's own folder."""
    monkeypatch.setenv("COURSE_LESSONS", str(SAMPLES))
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COURSE_SOLUTIONS", "reference")
    monkeypatch.setenv("PYTHONPATH", os.fspath(Path(__file__).parents[2]))


@pytest.fixture(scope="session", autouse=True)
def _no_child_stays() -> Iterator[None]:
    yield
    from course.exercises.warm import shared

    shared().stop()


@pytest.fixture
def kv_cell() -> Callable[[str], str]:
    """A cell that answers kv_bytes with the given body."""

    def cell(body: str, before: str = "") -> str:
        head = "def kv_bytes(layers, kv_heads, head_dim, tokens, bytes_per_value=2):\n"
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        return f'{before}@exercise("bytes_and_blocks.kv_bytes")\n{head}{lines}'

    return cell
