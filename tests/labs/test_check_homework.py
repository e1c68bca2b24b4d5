"""``python -m course check-homework``, as a student runs it."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from course.commands import main
from course.curriculum.contents import NOTEBOOKS
from course.curriculum.homework import notices
from course.exercises.submission import read_cells
from tests.labs.helpers import EXERCISES, HANDED_OUT, LAB, answered, right, save, solved, wrong


def test_solved_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-homework", str(save(solved(), tmp_path / LAB.file))]) == 0
    said = capsys.readouterr().out
    assert said.count("✓") == 5
    assert said.endswith("\n\n5 of 5 exercises pass: 12 of 12 points.\n")


def test_untouched_asks_whether_it_was_saved(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-homework", str(HANDED_OUT)]) == 1
    said = capsys.readouterr().out
    assert said.count("Not attempted yet.") == 5
    assert said.endswith("0 of 12 points.\nNothing was attempted in this file. Is the notebook saved?\n")


def test_half_done_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistakes = {"attend": "hides the leftovers and multiplies by them", "decode": "never ends early"}
    answers = {"store": right("store")} | {name: wrong(name, mistake) for name, mistake in mistakes.items()}
    file = save(answered(answers), tmp_path / LAB.file)
    assert main(["check-homework", str(file), "--seed", "1"]) == 1
    said = capsys.readouterr().out
    assert "✓ lab1.store" in said
    assert "→ Your weights for the leftovers are 0, but a leftover may be NaN, and 0 · NaN is NaN." in said
    assert "→ An end token stands in the middle of your answer, and it goes on behind it." in said
    assert "○ lab1.prefill: Not attempted yet." in said
    assert said.endswith("1 of 5 exercises pass: 2 of 12 points.\n")


def test_what_was_deleted_or_edited_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = answered({"store": right("store"), "attend": right("attend")})
    cells = {cell.id: cell for cell in notebook.cells}
    cells["check-lab1-store"].source = "print('passed')"
    cells["decoder"].source += "\n# mine"
    cells["exercise-lab1-attend"].source = right("attend")
    gone = ("exercise-lab1-layer", "check-lab1-prefill")
    notebook.cells = [cell for cell in notebook.cells if cell.id not in gone]
    notebook.cells.append(nbformat.v4.new_code_cell('@exercise("lab1.store")\ndef store(*anything): pass'))
    assert main(["check-homework", str(save(notebook, tmp_path / LAB.file))]) == 1
    said = capsys.readouterr().out
    assert "✓ lab1.attend" in said
    for sentence in (
        "2 cells hand this in; the last one counts.",
        'The line @exercise("lab1.attend") is missing; keep it next time.',
        "○ lab1.layer: No cell of the notebook hands this in.",
        "Note: The cell handed out for lab1.layer is gone; an answer elsewhere is found by its @exercise line.",
        "Note: The locked check cell of lab1.prefill is gone.",
        "Note: The locked cell `check-lab1-store` is not as it was handed out",
        "Note: The locked cell `decoder` is not as it was handed out",
    ):
        assert sentence in said


def test_lost_metadata_are_named_and_cost_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = solved()
    for cell in notebook.cells:
        cell.metadata.clear()
    assert main(["check-homework", str(save(notebook, tmp_path / LAB.file))]) == 0
    assert "Note: The notebook has lost the metadata of its cells" in capsys.readouterr().out


def test_what_was_handed_out_needs_no_note() -> None:
    assert list(notices(EXERCISES, read_cells(HANDED_OUT))) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "is no notebook (not JSON)"), ('{"cells": []}', "names no known lesson"), (None, "cannot be read")],
)
def test_what_is_no_homework_is_a_usage_mistake(
    content: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.ipynb"
    if content is not None:
        file.write_text(content)
    assert main(["check-homework", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_a_lesson_can_be_checked_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-homework", str(NOTEBOOKS / "02_kv_cache.ipynb")]) == 1
    assert "0 of 5 exercises pass" in capsys.readouterr().out
