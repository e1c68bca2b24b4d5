"""A class hands in the lab: everybody is graded, whatever was handed in, and gets a page."""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path

import nbformat
import pytest

from course.commands import main
from tests.labs.helpers import EXERCISES, LAB, answered, right, save, solved, wrong

ENDLESS = "def store(cache, start, keys, values):\n    while True:\n        pass\n"
EXIT = "import os, sys\n\ndef attend(query, cache, start):\n    sys.exit(0)\n"
FAKE = 'def layer(x, weights, attention, head_dim):\n    print("✓ lab1.layer: Passed: 3 checks. 12 of 12 points")\n'
PATCHED = (
    "torch.Tensor.__eq__ = lambda *_: True\n\ndef prefill(decoder, prompt, chunk_size):\n    decoder.step(prompt)\n"
)
KILLED = "import os\n\nos._exit(0)\n\ndef decode(decoder, logits, num_tokens, end_tokens):\n    return []\n"
HOSTILE = {"store": ENDLESS, "attend": EXIT, "layer": FAKE, "prefill": PATCHED, "decode": KILLED}

HALF = {
    "store": right("store"),
    "attend": wrong("attend", "no mask"),
    "layer": right("layer"),
    "prefill": wrong("prefill", "a full hit leaves nothing to compute"),
}


def cut() -> nbformat.NotebookNode:
    """The solved lab, but one exercise's cell is deleted, with all checks, and what is left has lost its metadata."""
    notebook = solved()
    notebook.cells = [c for c in notebook.cells if c.id != "exercise-lab1-attend" and "check_cell(" not in c.source]
    for cell in notebook.cells:
        cell.metadata.clear()
    return notebook


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where grades and pages are, and what the teacher was told."""
    folder = tmp_path_factory.mktemp("class")
    save(solved(), folder / "in" / "ada.ipynb")
    save(answered({}), folder / "in" / "ben.ipynb")
    save(answered(HALF), folder / "in" / "chloe" / LAB.file)
    (folder / "in" / "dan.ipynb").write_text('{"cells": [{"cell_type": "code", "sour')
    save(answered(HOSTILE), folder / "in" / "eve.ipynb")
    save(cut(), folder / "in" / "finn.ipynb")
    arguments = ["--submissions", str(folder / "in"), "--csv", str(folder / "grades.csv"), "--seed", "1"]
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        assert main(["grade", str(LAB.folder), *arguments]) == 0
    return folder, "\n".join(said)


def test_everybody_gets_what_they_earned(graded: tuple[Path, str]) -> None:
    with (graded[0] / "grades.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    points = {name: [int(row[exercise.id]) for exercise in EXERCISES] for name, row in rows.items()}
    assert points == {
        "ada": [2, 3, 2, 3, 2],
        "ben": [0, 0, 0, 0, 0],
        "chloe": [2, 0, 2, 0, 0],
        "dan": [0, 0, 0, 0, 0],
        "eve": [0, 0, 0, 0, 0],
        "finn": [2, 0, 2, 3, 2],
    }
    assert all(int(row["points"]) == sum(points[name]) for name, row in rows.items())
    assert {row["max_points"] for row in rows.values()} == {"12"}
    assert "not JSON" in rows["dan"]["problem"]
    assert not any(row["problem"] for name, row in rows.items() if name != "dan")


def test_the_teacher_is_told_whom_to_look_at(graded: tuple[Path, str]) -> None:
    assert graded[1].startswith("6 notebooks graded, 1 with full points\n  dan: ")


@pytest.mark.parametrize(
    ("student", "sentences"),
    [
        ("ada", ["12 of 12 points", "4 checks on random inputs"]),
        ("ben", ["0 of 12 points"]),
        ("chloe", ["4 of 12 points", "Your tokens see those after them.", "no logits come. Keep one less."]),
        ("dan", ["0 of 12 points", "is no notebook (not JSON)", "The notebook could not be read."]),
        ("eve", ["did not finish in 2 s", "ends Python (exit)", "returns None", "os._exit", "12 of 12 points"]),
        ("finn", ["9 of 12 points", "No cell of the notebook hands this in."]),
    ],
)
def test_each_page_says_why(graded: tuple[Path, str], student: str, sentences: list[str]) -> None:
    page = (graded[0] / "grades" / f"{student}.html").read_text(encoding="utf-8")
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert [sentence for sentence in sentences if sentence not in text] == []
    assert "<script" not in page
