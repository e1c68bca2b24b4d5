"""Grading notebooks: what counts, what buys nothing, and that nothing stops it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course.errors import UserError
from course.exercises import load
from course.exercises.gradebook import grade_folder, write_csv, write_pages
from course.exercises.grading import Report, grade_notebook
from course.exercises.submission import read_cells

APPEND = '@exercise("lab9.append")\ndef append(cache, value):\n'
TOTAL = '@exercise("lab9.total")\ndef total(cache):\n    return sum(cache)\n'
RIGHT = APPEND + "    cache.append(value)\n"


def notebook(file: Path, *cells: str, **metadata: object) -> Path:
    code = [new_code_cell(text, metadata=metadata) for text in cells]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Lab"), *code]), file)
    return file


def points(report: Report) -> dict[str, int]:
    return {result.verdict.id: result.verdict.points for result in report.results}


def messages(report: Report) -> str:
    return "\n".join(f"{result.verdict.message} {result.note}" for result in report.results)


def test_solved_notebook_gets_all_points_untouched_none(tmp_path: Path) -> None:
    solved = grade_notebook(notebook(tmp_path / "a.ipynb", *(e.solution_cell for e in load("lab9"))))
    assert (solved.points, solved.max_points, solved.lesson) == (5, 5, "lab9_cache")
    untouched = grade_notebook(notebook(tmp_path / "b.ipynb", *(e.stub_cell for e in load("lab9"))))
    assert (untouched.points, {r.verdict.status for r in untouched.results}) == (0, {"not attempted"})
    assert grade_notebook(notebook(tmp_path / "c.ipynb", RIGHT)).points == 2


def test_hidden_checks_count(tmp_path: Path) -> None:
    stops = APPEND + "    if len(cache) < 10:\n        cache.append(value)\n"
    report = grade_notebook(notebook(tmp_path / "a.ipynb", stops))
    assert report.points == 0
    assert report.results[0].verdict.nudge == "Why would it stop?"


def test_last_of_several_cells_counts(tmp_path: Path) -> None:
    wrong = APPEND + "    pass\n"
    report = grade_notebook(notebook(tmp_path / "a.ipynb", RIGHT, wrong))
    assert points(report)["lab9.append"] == 0
    assert "2 cells hand this in; the last one counts." in messages(report)
    assert points(grade_notebook(notebook(tmp_path / "b.ipynb", wrong, RIGHT)))["lab9.append"] == 2


def test_deleted_cells_lines_and_metadata(tmp_path: Path) -> None:
    unmarked = RIGHT.split("\n", 1)[1]
    report = grade_notebook(notebook(tmp_path / "a.ipynb", unmarked), "lab9")
    assert points(report) == {"lab9.append": 2, "lab9.total": 0, "lab9.append_all": 0}
    assert "is missing; keep it next time" in messages(report)
    assert "No cell of the notebook hands this in." in messages(report)
    noted = notebook(
        tmp_path / "lab9_cache.ipynb", "append = lambda c, v: c.append(v)", course={"exercise": "lab9.append"}
    )
    assert points(grade_notebook(noted))["lab9.append"] == 2
    with pytest.raises(UserError, match="say with --lesson"):
        grade_notebook(notebook(tmp_path / "homework.ipynb", "x = 1"))


def test_what_builds_on_another_uses_the_learners_own(tmp_path: Path) -> None:
    above = '@exercise("lab9.append_all")\ndef append_all(cache, values):\n    cache = list(cache)\n'
    above += "    for value in values:\n        append(cache, value)\n    return len(cache)\n"
    right = grade_notebook(notebook(tmp_path / "a.ipynb", RIGHT, above))
    assert points(right)["lab9.append_all"] == 2
    wrong = grade_notebook(notebook(tmp_path / "b.ipynb", APPEND + "    pass\n", above))
    assert wrong.points == 0
    missing = grade_notebook(notebook(tmp_path / "c.ipynb", above))
    assert "`append` is not defined" in messages(missing)


def test_helper_in_another_cell_is_named(tmp_path: Path) -> None:
    report = grade_notebook(
        notebook(tmp_path / "a.ipynb", "def helper(c, v): c.append(v)", APPEND + "    helper(cache, value)\n")
    )
    assert "`helper` is defined in another cell; move it into this one" in messages(report)


SOLUTIONS = Path(__file__).parent / "samples" / "lab9_cache" / "solutions.py"


@pytest.mark.parametrize(
    "cell",
    [
        "import sys\nsys.exit(0)\n" + RIGHT,
        "import os\nos._exit(0)\n" + RIGHT,
        'print(\'{"passed": true, "points": 2}\')\n' + APPEND + "    pass\n",
        "from course.exercises import judge\njudge.judge = None\n" + APPEND + "    pass\n",
        f"exec(open({str(SOLUTIONS)!r}).read().replace('@', '#'))\n",
        f"import sys\nsys.path.insert(0, {str(SOLUTIONS.parent)!r})\nfrom solutions import append\n"
        + APPEND
        + "    pass\n",
        f"import linecache\n{APPEND}    exec(''.join(linecache.getlines({str(SOLUTIONS)!r})))\n",
        "hog = 'x' * 10**10\n" + RIGHT,
        "import os\nwhile True:\n    os.fork()\n" + RIGHT,
        APPEND + "    return NotImplemented\n",
        APPEND + "    syntax error\n",
        '@exercise("lab9.append")\nappend = None\n',
        '"""\n' + RIGHT + '"""\n',
        "# " + "\n# ".join(RIGHT.splitlines()),
        "{" * 5000 + RIGHT,
        "",
    ],
)
def test_tricks_buy_nothing_and_harm_no_other_cell(tmp_path: Path, cell: str) -> None:
    report = grade_notebook(notebook(tmp_path / "a.ipynb", cell, TOTAL))
    assert points(report) == {"lab9.append": 0, "lab9.total": 1, "lab9.append_all": 0}


def test_outputs_are_never_read(tmp_path: Path) -> None:
    cell = new_code_cell(APPEND + "    pass\n", outputs=[new_output("stream", text="✓ lab9.append: Passed")])
    nbformat.write(new_notebook(cells=[cell], metadata={"grade": 100}), tmp_path / "a.ipynb")
    assert grade_notebook(tmp_path / "a.ipynb").points == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "no cells"),
        ('{"cells": 3}', "no cells"),
        ("\0\0", "not JSON"),
        ("[" * 10**5, "not JSON"),
    ],
)
def test_what_is_no_notebook_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(UserError, match=words):
        read_cells(tmp_path / "a.ipynb")


def test_odd_cells_are_passed_over(tmp_path: Path) -> None:
    odd = [None, 3, {}, {"cell_type": "code"}, {"cell_type": "code", "source": [3, "x = 1\n"], "metadata": 5}]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": odd}))
    assert [cell.text for cell in read_cells(tmp_path / "a.ipynb")] == ["x = 1\n"]


def test_class_is_graded_past_bad_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    (folder / "bob").mkdir(parents=True)
    (folder / ".ipynb_checkpoints").mkdir()
    notebook(folder / "ada.ipynb", RIGHT, TOTAL)
    notebook(folder / "bob" / "lab.ipynb", APPEND + "    import os; os._exit(1)\n", TOTAL)
    notebook(folder / "=cmd.ipynb", "x = 1")
    notebook(folder / ".ipynb_checkpoints" / "ada.ipynb", RIGHT)
    (folder / "cut <b>.ipynb").write_text('{"cells": [')
    reports = grade_folder("lab9", folder, jobs=2)
    assert {name: report.points for name, report in reports.items()} == {"ada": 3, "bob": 1, "=cmd": 0, "cut <b>": 0}
    assert "4/4" in capsys.readouterr().err
    write_csv(reports, tmp_path / "grades.csv")
    with (tmp_path / "grades.csv").open(newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert rows["ada"]["lab9.append"] == "2"
    assert "'=cmd" in rows
    assert "not JSON" in rows["cut <b>"]["problem"]
    write_pages(reports, tmp_path / "pages")
    page = (tmp_path / "pages" / "bob.html").read_text()
    assert "1 of 5 points" in page
    assert "ended its Python process" in page
    assert "<b>" not in (tmp_path / "pages" / "cut <b>.html").read_text()


def test_student_copy_without_hidden_checks_and_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from course.exercises.judge import judge
    from course.exercises.registry import find

    lab = tmp_path / "lessons" / "lab8_copy"
    lab.mkdir(parents=True)
    text = (SOLUTIONS.parent / "exercises.py").read_text().replace("lab9.", "lab8.")
    (lab / "exercises.py").write_text(text)
    monkeypatch.setenv("COURSE_LESSONS", str(tmp_path / "lessons"))
    append = find("lab8.append")
    assert append.reference is None
    verdict = judge(append, RIGHT.replace("lab9", "lab8"))
    assert verdict.message == "Public checks passed (1); then 1 hidden check at grading."
