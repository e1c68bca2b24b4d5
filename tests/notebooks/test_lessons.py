"""Every committed lesson: up to date with its source, executed, and true when it runs again."""

from __future__ import annotations

import time

import nbformat
import pytest

from course.curriculum.check import reasons_to_rebuild
from course.curriculum.contents import NOTEBOOKS, contents
from course.curriculum.sources import read_sources
from course.curriculum.verify import problems
from tests.notebooks.nbval import run_strictly

COMMITTED = [lesson for lesson in contents().lessons if lesson.is_ready]
SOURCES = {source.lesson.number: source for source in read_sources()}
each = pytest.mark.parametrize("lesson", COMMITTED, ids=[lesson.file for lesson in COMMITTED])

LIMIT_S = 20
"""Of each notebook on two quiet cores; printed, and only a multiple fails: the machine may be busy."""


@each
def test_every_code_cell_was_executed_without_error(lesson) -> None:
    notebook = nbformat.read(NOTEBOOKS / lesson.file, as_version=4)
    nbformat.validate(notebook)
    assert problems(notebook) == []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@each
def test_it_says_what_its_source_says(lesson) -> None:
    source = SOURCES[lesson.number]
    remedy = f"run: python -m course build {source.name}"
    assert reasons_to_rebuild(source) == [], remedy


@each
def test_it_runs_as_it_is_printed(lesson) -> None:
    began = time.monotonic()
    num_cells = run_strictly(NOTEBOOKS / lesson.file)
    took_s = time.monotonic() - began
    print(f"{lesson.file}: {num_cells} cells in {took_s:.1f} s (wanted: {LIMIT_S} s on two quiet cores)")
    assert took_s < 6 * LIMIT_S


def test_every_lesson_that_is_no_draft_is_committed() -> None:
    missing = [source.name for source in SOURCES.values() if not source.is_draft and not source.lesson.is_ready]
    assert missing == [], "run: python -m course build"


def test_no_notebook_is_without_a_source() -> None:
    known = {source.lesson.file for source in SOURCES.values()} | {"index.ipynb"}
    assert {file.name for file in NOTEBOOKS.glob("*.ipynb")} <= known
