"""What keeps a notebook from being committed, and what makes one stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course.curriculum.check import reasons_to_rebuild
from course.curriculum.contents import ROOT
from course.curriculum.notebook import notebook_of, text_of
from course.curriculum.verify import MOST_BYTES, problems
from tests.curriculum.helpers import TEXT, lesson

PLAIN = TEXT.replace('# %% exercise="start_here.double" id="double"\n', "")


def executed(*outputs: Any, source: str = "f()", tags: tuple[str, ...] = (), count: int | None = 1) -> Any:
    metadata = {"tags": list(tags)} if tags else {}
    cell = new_code_cell(source, id="c", outputs=list(outputs), execution_count=count, metadata=metadata)
    return new_notebook(cells=[cell])


def printed(text: str, name: str = "stdout") -> Any:
    return new_output("stream", name=name, text=text)


def test_a_good_notebook_has_no_problems() -> None:
    assert problems(executed(printed("3\n"))) == []


@pytest.mark.parametrize(
    ("notebook", "sentence"),
    [
        (executed(count=None), "cell c was never executed"),
        (executed(new_output("error", ename="ValueError", evalue="no", traceback=[])), "cell c raises ValueError: no"),
        (executed(printed("careful", "stderr")), "cell c writes to stderr: 'careful'"),
        (executed(printed(f"{ROOT}/course/x.py")), "prints a path of this machine"),
        (executed(printed("<object at 0x7f3a5c0d1e20>")), "prints a memory address, 0x7f3a5c0d1e20"),
        (executed(printed("x" * MOST_BYTES)), "at most 500,000 are allowed"),
        (executed(printed("1.3 s"), tags=("nbval-ignore-output",)), "neither it nor the next one asserts"),
        (
            executed(new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})),
            "shows a live widget",
        ),
    ],
)
def test_each_problem_has_its_sentence(notebook: Any, sentence: str) -> None:
    (found,) = problems(notebook)
    assert sentence in found


def test_measured_cells_may_print_what_they_like_if_they_assert() -> None:
    source = "took = f()\nassert took < 1"
    assert problems(executed(printed("at 0x7f3a5c0d1e20"), source=source, tags=("nbval-ignore-output",))) == []


def test_widget_state_is_refused() -> None:
    notebook = executed()
    notebook.metadata["widgets"] = {}
    assert "widget state is stored" in problems(notebook)[0]


def as_if_built(folder: Path, text: str = PLAIN) -> Path:
    notebook = notebook_of(lesson(text))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
    file = folder / "00_start_here.ipynb"
    file.write_text(text_of(notebook), encoding="utf-8")
    return file


def test_what_was_just_built_is_fresh(tmp_path: Path) -> None:
    assert reasons_to_rebuild(lesson(PLAIN), tmp_path) == ["it was never built"]
    as_if_built(tmp_path)
    assert reasons_to_rebuild(lesson(PLAIN), tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("In words.", "In other words.", "another id"),
        ("x + 1", "x + 2", "another id"),
        ('tags=["nbval-ignore-output"]', 'tags=["nbval-skip"]', "another metadata"),
        ("# %%\nx = 2", '# %% id="two"\nx = 2', "another id"),
        ("assert took_s > 0\n", "assert took_s > 0\n# %%\nlate = 1\n", "7 cells|5 cells|another"),
    ],
)
def test_every_edit_of_the_text_is_noticed(old: str, new: str, reason: str, tmp_path: Path) -> None:
    as_if_built(tmp_path)
    assert old in PLAIN
    found = reasons_to_rebuild(lesson(PLAIN.replace(old, new)), tmp_path)
    assert found
    assert any(word in found[0] for word in reason.split("|"))


@pytest.mark.parametrize("part", ["source", "id", "metadata"])
def test_every_edit_of_the_notebook_is_noticed(part: str, tmp_path: Path) -> None:
    file = as_if_built(tmp_path)
    notebook = nbformat.read(file, as_version=4)
    notebook.cells[2][part] = {"source": "x = 3", "id": "other", "metadata": {"scrolled": True}}[part]
    nbformat.write(notebook, file)
    assert reasons_to_rebuild(lesson(PLAIN), tmp_path) == [
        f"cell 3 ({notebook_of(lesson(PLAIN)).cells[2].id}) has another {part}"
    ]


def test_a_notebook_that_was_never_executed_is_stale(tmp_path: Path) -> None:
    file = as_if_built(tmp_path)
    file.write_text(text_of(notebook_of(lesson(PLAIN))), encoding="utf-8")
    assert "was never executed" in reasons_to_rebuild(lesson(PLAIN), tmp_path)[0]
