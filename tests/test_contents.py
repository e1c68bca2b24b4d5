"""The contents page: made from the table of contents, executed, and true on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from course.curriculum.contents import NOTEBOOKS, contents

nbformat = pytest.importorskip("nbformat", reason="the notebook packages are not installed")
INDEX = NOTEBOOKS / "index.ipynb"


def test_lessons_are_numbered_and_each_asks_a_question() -> None:
    lessons = contents().lessons
    assert [lesson.number for lesson in lessons] == list(range(16))
    assert len({lesson.name for lesson in lessons}) == len(lessons)
    assert all(lesson.question.endswith(("?", ".")) for lesson in lessons)
    assert lessons[2].file == "02_kv_cache.ipynb"


def test_the_page_is_what_the_table_of_contents_makes() -> None:
    from course.curriculum.index import index_notebook

    committed, made = nbformat.read(INDEX, as_version=4), index_notebook()
    remedy = "run: python -m course.curriculum.index"
    assert [(c.id, c.cell_type, c.source) for c in committed.cells] == [
        (c.id, c.cell_type, c.source) for c in made.cells
    ], remedy
    assert committed.metadata == made.metadata, remedy


def test_the_page_is_valid_executed_and_small() -> None:
    notebook = nbformat.read(INDEX, as_version=4)
    nbformat.validate(notebook)
    code = code_cells()
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
    assert INDEX.stat().st_size < 20_000


def test_the_page_runs_as_it_is_printed(tmp_path: Path) -> None:
    pytest.importorskip("nbval", reason="nbval is not installed")
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(tmp_path)]
    strict = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=120"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *strict, str(INDEX)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(NOTEBOOKS.parent)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(code_cells())} passed" in done.stdout


def code_cells() -> list:
    return [cell for cell in nbformat.read(INDEX, as_version=4).cells if cell.cell_type == "code"]
