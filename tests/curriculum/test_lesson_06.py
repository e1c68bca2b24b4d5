"""Lesson 06: its exercises are sound, the learner's cache runs engine and explorer, and the prose is true."""

from __future__ import annotations

import pytest

from course.exercises import load, prove

EXERCISES = load("prefix_cache")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)
