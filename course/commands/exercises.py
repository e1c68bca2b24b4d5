"""``python -m course exercises``: what there is to solve."""

from __future__ import annotations

import argparse
import json

SUMMARY = "list the exercises"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("lesson", nargs="?", help="only this lesson's (default: all)")
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(args: argparse.Namespace) -> int:
    """Print them, in the order of the course."""
    from course.exercises import registry

    known = registry.load(args.lesson) if args.lesson else registry.exercises()
    rows = [
        {
            "id": exercise.id,
            "lesson": registry.lesson_named(exercise.lesson),
            "points": exercise.points,
            "num_checks": sum(not check.hidden for check in exercise.checks) + num_hidden(exercise),
            "num_mistakes": len(exercise.mistakes),
        }
        for exercise in known
    ]
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    width = max([len(str(row["id"])) for row in rows] or [0])
    for row in rows:
        points = f"{row['points']} point{'s' * (row['points'] != 1)}"
        print(f"{row['id']:<{width}}  {points:<9}  {row['num_checks']} checks, {row['num_mistakes']} planted mistakes")
    if not rows:
        print("There are no exercises yet.")
    return 0


def num_hidden(exercise: object) -> int:
    """Hidden checks: those that are here, or those that are announced where they are not."""
    here = sum(check.hidden for check in getattr(exercise, "checks", []))
    return max(here, getattr(exercise, "hidden_checks", 0))
