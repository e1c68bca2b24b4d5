"""From text to cells: ids, markers, exercises, and what a mistyped marker says."""

from __future__ import annotations

import nbformat
import pytest

from course.curriculum.contents import contents
from course.curriculum.notebook import notebook_of, text_of
from course.curriculum.sources import Source
from course.errors import UserError
from tests.curriculum.helpers import STUB, TEXT, exercise_text, lesson


def made(text: str = TEXT) -> nbformat.NotebookNode:
    return notebook_of(lesson(text), exercise_text=exercise_text)


def ids(text: str) -> list[str]:
    return [cell.id for cell in made(text).cells]


def test_the_same_text_gives_the_same_bytes() -> None:
    assert text_of(made()) == text_of(made())
    nbformat.validate(made())


def test_cells_are_what_the_text_says() -> None:
    opening, idea, code, exercise, measured, closing = made().cells
    assert idea.source == "## An idea\n\nIn words."
    assert code.source == "x = 2\nprint(x + 1)"
    assert (exercise.source, exercise.id) == (STUB, "double")
    assert exercise.metadata == {"course": {"exercise": "start_here.double"}}
    assert measured.metadata == {"tags": ["nbval-ignore-output"]}
    assert (opening.id, closing.id) == ("opening", "closing")
    assert code.metadata == idea.metadata == {}


def test_a_cell_put_in_elsewhere_changes_no_other_id() -> None:
    longer = "# %%\ny = 3\n\n" + TEXT + "\n# %% [markdown]\n# More.\n"
    assert set(ids(TEXT)) < set(ids(longer))


def test_space_between_cells_means_nothing() -> None:
    assert text_of(made(TEXT.replace("\n# %%", "\n\n\n# %%"))) == text_of(made())


def test_an_exercise_without_a_name_of_its_own_is_named_after_itself() -> None:
    assert "exercise-start_here-double" in ids(TEXT.replace(' id="double"', ""))


def test_what_stands_above_the_first_header_is_the_authors() -> None:
    assert ids("# draft: soon\n# ruff: noqa: D100\n\n" + TEXT) == ids(TEXT)


def test_the_metadata_are_minimal_and_name_the_kernel() -> None:
    assert made().metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('# %% exercize="a.b"\n', "cell 1 has the marker 'exercize'; known are id, tags, exercise"),
        ('# %% tags=["nbval-ignore"]\nx = 1\n', r"cell 1 has tags \['nbval-ignore'\]; known are"),
        ('# %% id="a b"\nx = 1\n', "cell 1 has the id 'a b'"),
        ("# %%\nx = 1\n# %%\nx = 1\n", "two cells have the id"),
        ("# %%\nx = 1\n# %%\n", "cell 2 is empty"),
        ('# %% check="a.b"\n', "cell 1 has the marker 'check'; known are id, tags, exercise$"),
    ],
)
def test_a_mistake_in_the_text_is_named_with_its_cell(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=rf"lesson_00_start_here/lesson.py: {sentence}"):
        made(text)


def test_a_lab_knows_the_students_cells_the_locked_ones_and_their_points() -> None:
    lab = Source(
        contents().labs[0],
        '# %% id="given" locked=true\nx = 1\n\n# %% exercise="lab1.store"\n\n# %% check="lab1.store"\n',
    )
    opening, given, answer, check, _ = notebook_of(lab).cells
    assert "Lab 1 ·" in opening.source
    assert "(README.md)" in opening.source
    assert check.source.startswith('check_cell("lab1.store")')
    assert [cell.metadata.nbgrader.grade_id for cell in (given, answer, check)] == [
        "given",
        "lab1-store",
        "check-lab1-store",
    ]
    assert [cell.metadata.get("editable", True) for cell in (given, answer, check)] == [False, True, False]
    assert answer.metadata.course == {"exercise": "lab1.store"}
    assert check.metadata.nbgrader.points == 2
