"""What is kept between notebooks, and when it is offered."""

from __future__ import annotations

import json
import os

import pytest

from course.errors import UserError
from course.exercises import find, progress, scorecard, solution, use_my_solutions
from course.exercises.definition import Exercise
from course.exercises.notebook import go_on_with
from course.exercises.verdict import Verdict

MINE = "STEP = 1\ndef count_down(start):\n    return sum(STEP for _ in range(start))  # mine\n"


@pytest.fixture
def exercise(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    monkeypatch.setenv("COURSE_SOLUTIONS", "mine")
    return find("bytes_and_blocks.count_down")


def test_kept_solution_is_offered(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    assert solution(exercise.id) is exercise.reference
    progress.keep(exercise, MINE)
    mine = solution(exercise.id)
    assert (mine(3), mine.__module__) == (3, "solution_count_down")
    assert capsys.readouterr().out == "count_down: the reference\ncount_down: yours\n"
    untouched = Verdict(exercise.id, "not attempted", 0, 1, "")
    chosen, note = go_on_with(exercise, None, untouched)
    assert (chosen(2), note) == (2, "The lesson goes on with your earlier `count_down`.")


def test_switch_is_off_until_asked(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_switched_on", False)
    monkeypatch.delenv("COURSE_SOLUTIONS")
    progress.keep(exercise, MINE)
    assert solution(exercise.id) is exercise.reference
    use_my_solutions()
    assert solution(exercise.id) is not exercise.reference
    monkeypatch.setenv("COURSE_SOLUTIONS", "reference")  # what builds and tests set: stronger than the switch
    assert solution(exercise.id) is exercise.reference
    assert progress.all_solved() == {}


def test_nothing_is_kept_in_builds(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_SOLUTIONS", "reference")
    progress.keep(exercise, MINE)
    assert not progress.home().exists()


def test_changed_exercise_judges_the_kept_solution_again(exercise: Exercise) -> None:
    progress.keep(exercise, MINE)
    file = progress.home() / f"{exercise.id}.json"
    for text, is_mine in ((MINE, True), (MINE.replace("range(start)", "range(2)"), False)):
        fields = json.loads(file.read_text()) | {"fingerprint": "of another time", "text": text}
        file.write_text(json.dumps(fields))
        assert (solution(exercise.id) is not exercise.reference) == is_mine


def test_writing_is_atomic_and_damage_is_harmless(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    progress.keep(exercise, MINE)
    file = progress.home() / f"{exercise.id}.json"
    assert [entry.name for entry in progress.home().iterdir()] == [file.name]
    before = file.read_text()

    def full(*args: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        progress.keep(exercise, "other")
    assert file.read_text() == before
    file.write_text("{")
    assert solution(exercise.id) is exercise.reference


def test_lab_without_reference_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    exercise = find("lab9.total")
    monkeypatch.setattr(exercise, "reference_text", None)
    with pytest.raises(UserError, match="not solved yet"):
        solution(exercise.id)


def test_scorecard_of_kept_solutions(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("course.exercises.score.handed_in", {})
    progress.keep(exercise, MINE)
    assert "bytes_and_blocks                     1 of 5 exercises" in repr(scorecard())
    card = scorecard("bytes_and_blocks")
    assert "✓ bytes_and_blocks.count_down" in repr(card)
    assert "passed" in card._repr_html_()
