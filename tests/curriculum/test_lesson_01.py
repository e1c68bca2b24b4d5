"""Lesson 01: its exercises are sound, and its pictures show what they should."""

from __future__ import annotations

import pytest

from course.exercises import load, prove

EXERCISES = load("attention")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_the_exercise_is_sound(exercise) -> None:
    prove(exercise, seeds=4)
