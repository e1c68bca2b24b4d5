"""Exercises: one definition, one judge.

In a notebook: ``exercise``, ``check_cell``, ``ready``, ``solution``, ``use_my_solutions``, ``scorecard``, ``start``.
In a lesson's ``exercises.py``: ``define``, ``call``, ``new``, ``expect``, ``Cases``, ``tensor``, ``PLAIN``, ``TORCH``.
In its tests: ``prove``. docs/authoring.md shows how.
"""

from __future__ import annotations

from course.exercises.cases import Case, Cases, call, expect, new, tensor
from course.exercises.definition import PLAIN, TORCH, Exercise, define
from course.exercises.notebook import NotPassedError, check_cell, exercise, ready, solution, start
from course.exercises.progress import use_my_solutions
from course.exercises.prover import prove
from course.exercises.registry import exercises, find, load
from course.exercises.score import scorecard

__all__ = [
    "PLAIN",
    "TORCH",
    "Case",
    "Cases",
    "Exercise",
    "NotPassedError",
    "call",
    "check_cell",
    "define",
    "exercise",
    "exercises",
    "expect",
    "find",
    "load",
    "new",
    "prove",
    "ready",
    "scorecard",
    "solution",
    "start",
    "tensor",
    "use_my_solutions",
]
