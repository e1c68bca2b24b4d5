"""``python -m course exercises``: what there is to solve."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from course.exercises import Exercise

SUMMARY = "list the exercises"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("lesson", nargs="?", help="only this lesson's (default: all)")
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(args: argparse.Namespace) -> int:
    """Print them, in the order of the course."""
    from course.exercises import registry
    from course.exercises.show import many

    known = registry.load(args.lesson) if args.lesson else registry.exercises()
    if args.json:
        print(json.dumps([row(exercise, registry.lesson_named(exercise.lesson)) for exercise in known], indent=1))
        return 0
    width = max([len(exercise.id) for exercise in known] or [0])
    for exercise in known:
        points, checks = many(exercise.points, "point"), many(num_checks(exercise), "check")
        print(f"{exercise.id:<{width}}  {points:<9}  {checks}, {many(len(exercise.mistakes), 'planted mistake')}")
    if not known:
        print("There are no exercises yet.")
    return 0


def row(exercise: Exercise, lesson: str) -> dict[str, str | int]:
    """One exercise as plain data."""
    return {
        "id": exercise.id,
        "lesson": lesson,
        "points": exercise.points,
        "num_checks": num_checks(exercise),
        "num_mistakes": len(exercise.mistakes),
    }


def num_checks(exercise: Exercise) -> int:
    """All checks: hidden ones are announced also where they are not at hand."""
    hidden = sum(check.hidden for check in exercise.checks)
    return len(exercise.checks) - hidden + max(hidden, exercise.hidden_checks)
