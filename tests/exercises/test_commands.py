"""The three commands, run as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course.commands import main

ROOT = Path(__file__).parents[2]
RIGHT = "def count_down(start):\n    return start\n"


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exercises", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    wanted = {"id": "bytes_and_blocks.kv_bytes", "lesson": "bytes_and_blocks", "points": 2}
    assert rows["bytes_and_blocks.kv_bytes"] == wanted | {"num_checks": 2, "num_mistakes": 2}
    assert rows["lab9.append"]["num_checks"] == 2
    assert main(["exercises", "lab9"]) == 0
    assert "lab9.append      2 points   2 checks, 1 planted mistake" in capsys.readouterr().out


def test_check_from_a_shell(tmp_path: Path) -> None:
    file = tmp_path / "answer.py"
    file.write_text("from course.exercises import exercise\n" + RIGHT)
    command = [
        sys.executable,
        "-m",
        "course",
        "check",
        "bytes_and_blocks.count_down",
        "--solution",
        str(file),
        "--json",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["passed"], verdict["points"], verdict["nudge"]) == (True, 1, "")
    assert done.stderr == ""


def test_check_fails_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answer.py"
    file.write_text(RIGHT.replace("return start", "return start + 1"))
    assert main(["check", "bytes_and_blocks.count_down", "--solution", str(file), "--seed", "3"]) == 1
    first = capsys.readouterr().out
    assert main(["check", "bytes_and_blocks.count_down", "--solution", str(file), "--seed", "3"]) == 1
    assert capsys.readouterr().out == first
    assert "gives 2, not 1" in first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "bytes_and_blocks.count_dwn", "--solution", "x.py"], "the nearest is bytes_and_blocks.count_down"),
        (["check", "nonsense.x", "--solution", "x.py"], "there is no lesson with exercises named 'nonsense'"),
        (["check", "nonsense", "--solution", "x.py"], "write lesson, point, name"),
        (["check", "lab9.total", "--solution", "/nowhere/x.py"], "/nowhere/x.py cannot be read"),
        (["check", "lab9.total"], "--solution"),
        (["check", "lab9.total", "--solution", "x.py", "--seed", "-1"], "--seed -1 is negative"),
        (["grade", "/nowhere/x.ipynb"], "/nowhere/x.ipynb cannot be read"),
        (["grade", "lab9", "--submissions", "/nowhere", "--csv", "x.csv"], "/nowhere is no folder"),
        (["grade", "lab9", "--submissions", "."], "add --csv FILE"),
        (["grade", "x.ipynb", "--csv", "x.csv"], "add --submissions DIR"),
        (["exercises", "lab"], "there is no lesson with exercises named 'lab'"),
    ],
)
def test_usage_mistakes(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_grade_one_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "a.ipynb", tmp_path / "out.json"
    nbformat.write(new_notebook(cells=[new_code_cell('@exercise("lab9.total")\ndef total(c): return sum(c)')]), file)
    assert main(["grade", str(file), "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert (result["points"], result["max_points"], result["lesson"]) == (1, 5, "lab9_cache")
    assert [row["passed"] for row in result["exercises"]] == [False, True, False]
    assert "1 of 5 points" in capsys.readouterr().out
    assert main(["check", "lab9.total", "--solution", str(file)]) == 0


def test_grade_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    nbformat.write(new_notebook(), tmp_path / "in" / "ada.ipynb")
    grades = tmp_path / "grades.csv"
    assert main(["grade", "labs/lab9_cache", "--submissions", str(tmp_path / "in"), "--csv", str(grades)]) == 0
    assert "ada,"[:4] in grades.read_text()
    assert (tmp_path / "grades" / "ada.html").exists()
    assert "1 notebooks graded" in capsys.readouterr().out
