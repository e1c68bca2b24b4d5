"""Lesson 11: its exercises are sound, its workers really move keys and values, its prose says what its runs show."""

from __future__ import annotations

import pytest

from course.exercises import load, prove

EXERCISES = load("disaggregation")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_exercises_are_sound(exercise) -> None:
    prove(exercise, seeds=2)
