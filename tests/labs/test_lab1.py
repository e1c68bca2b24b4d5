"""Lab 1: its exercises are sound."""

from __future__ import annotations

import pytest

from course.exercises import load, prove

EXERCISES = load("lab1")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)


def test_hidden_checks_are_announced() -> None:
    assert [e.hidden_checks for e in EXERCISES] == [sum(c.hidden for c in e.checks) for e in EXERCISES]
