"""Lesson 08: its exercises are sound, its scheduler serves both clocks, its prose says what its runs show."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.curriculum.lesson_08_chunked_prefill import exercises
from course.curriculum.lesson_08_chunked_prefill.rules import World, chunked_fault
from course.exercises import load, prove
from course.exercises.judge import judge
from course.serving.schedulers import ChunkedPrefill
from course.simulator.lockstep import serve_in_steps

EXERCISES = load("chunked_prefill")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_exercises_are_sound(exercise) -> None:
    prove(exercise, seeds=3)
