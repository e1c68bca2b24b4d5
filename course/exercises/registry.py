"""Finds the exercises: each lesson's folder has an ``exercises.py``, a lab's also ``hidden.py`` and ``solutions.py``.

A student's copy lacks the latter two, and everything still works. ``COURSE_LESSONS`` names further folders of lessons.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

from course.errors import UserError
from course.exercises.definition import Exercise

CURRICULUM = Path(__file__).resolve().parents[1] / "curriculum"
BESIDE = ("hidden", "solutions")
NUMBERED = re.compile(r"^lesson_\d+_")


def folders() -> dict[str, tuple[Path, str]]:
    """Every lesson that has exercises, in the course's order, with its folder and the module of its exercises.

    The folder ``lesson_02_kv_cache`` is the lesson ``kv_cache``; any other folder's name is its lesson's.
    """
    found = {}
    more = [Path(place) for place in os.environ.get("COURSE_LESSONS", "").split(os.pathsep) if place]
    for root, package in [(CURRICULUM, "course.curriculum."), *((place, "") for place in more)]:
        for file in sorted(root.glob("*/exercises.py")):
            folder = file.parent
            found[NUMBERED.sub("", folder.name)] = (folder, f"{package}{folder.name}.exercises")
    order = {name: number for number, name in enumerate(table_of_contents())}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def table_of_contents() -> list[str]:
    """The names of the lessons in order; read as data, for this room comes before the curriculum's."""
    try:
        table = tomllib.loads((CURRICULUM / "contents.toml").read_text(encoding="utf-8"))
    except OSError:
        return []
    return [lesson["name"] for part in table["part"] for lesson in part["lesson"]]


def lesson_named(name: str) -> str:
    """The folder of a lesson, given its name or, as ``lab1`` for ``lab1_kv_cache``, the beginning of it."""
    known = folders()
    if name in known:
        return name
    begins = [folder for folder in known if folder.startswith(name + "_")]
    if len(begins) == 1:
        return begins[0]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    remedy = f"; the nearest is {near[0]!r}" if near else ""
    raise UserError(f"there is no lesson with exercises named {name!r}{remedy} (python -m course exercises lists all)")


def load(lesson: str) -> list[Exercise]:
    """The exercises of a lesson, in the order of its file."""
    return list(_load(lesson_named(lesson), os.environ.get("COURSE_LESSONS", "")))


@cache
def _load(lesson: str, places: str) -> tuple[Exercise, ...]:
    folder, name = folders()[lesson]
    if str(folder.parent) in places.split(os.pathsep) and str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))
    module = importlib.import_module(name)
    for other in BESIDE:
        if (folder / f"{other}.py").exists():
            importlib.import_module(f"{name.removesuffix('exercises')}{other}")
    found = {value.id: value for value in vars(module).values() if isinstance(value, Exercise)}
    for exercise in found.values():
        if lesson_named(exercise.lesson) != lesson:
            raise ValueError(f"{exercise.id} is defined in {folder}, which is another lesson's folder")
    return tuple(found.values())


def exercises() -> list[Exercise]:
    """All exercises of the course."""
    return [exercise for lesson in folders() for exercise in load(lesson)]


def find(exercise_id: str) -> Exercise:
    """The exercise with this id."""
    lesson, point, name = exercise_id.partition(".")
    if not point or not name:
        raise UserError(f"{exercise_id!r} is no exercise: write lesson, point, name, as in kv_cache.kv_bytes")
    known = load(lesson)
    for exercise in known:
        if exercise.name == name:
            return exercise
    near = difflib.get_close_matches(name, [exercise.name for exercise in known], n=1, cutoff=0.0)
    remedy = f"; the nearest is {lesson}.{near[0]}" if near else ""
    raise UserError(f"lesson {lesson!r} has no exercise {name!r}{remedy} (python -m course exercises lists all)")
