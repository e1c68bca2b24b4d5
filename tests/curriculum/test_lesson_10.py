"""Lesson 10: its exercises are sound, its event loop is the course's simulator, its text says what its runs give."""

from __future__ import annotations

import pytest

from course.exercises import load, prove

EXERCISES = load("simulation")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)
