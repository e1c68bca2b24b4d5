"""``python -m course check-homework``: what a student asks before handing in."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from course.errors import UserError

if TYPE_CHECKING:
    from course.exercises import Exercise
    from course.exercises.verdict import Verdict

SUMMARY = "say of each exercise in a notebook whether it passes, and what is missing"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("notebook", type=Path, help="your notebook, saved; nothing in it is changed")
    parser.add_argument("--seed", type=int, help="fixes the random inputs (default: new ones each time)")


def run(args: argparse.Namespace) -> int:
    """Print a verdict for each exercise as it comes; 0 if all pass, 1 if not."""
    from course.curriculum.homework import notices
    from course.exercises import registry
    from course.exercises.feedback import as_text
    from course.exercises.grading import grade_exercise, lesson_for
    from course.exercises.submission import read_cells
    from course.exercises.warm import shared

    if args.seed is not None and args.seed < 0:
        raise UserError(f"--seed {args.seed} is negative: give 0 or more")
    seed = secrets.randbits(32) if args.seed is None else args.seed
    cells = read_cells(args.notebook)
    exercises = registry.load(lesson_for(cells, args.notebook))
    verdicts = []
    try:
        for exercise in exercises:
            result = grade_exercise(exercise, cells, seed, shared())
            verdicts.append(result.verdict)
            print(as_text(result.verdict, result.note), flush=True)
    finally:
        shared().stop()
    print("", *(f"Note: {notice}" for notice in notices(exercises, cells)), summary(exercises, verdicts), sep="\n")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def summary(exercises: Sequence[Exercise], verdicts: Sequence[Verdict]) -> str:
    """How far it is, and what is still to come."""
    passed, points = sum(v.passed for v in verdicts), sum(v.points for v in verdicts)
    lines = [f"{passed} of {len(verdicts)} exercises pass: {points} of {sum(v.max_points for v in verdicts)} points."]
    to_come = sum(exercise.hidden_checks - sum(check.hidden for check in exercise.checks) for exercise in exercises)
    if passed and to_come > 0:
        lines.append(f"These are the public checks; at grading, {to_come} hidden ones follow.")
    if all(verdict.not_attempted for verdict in verdicts):
        lines.append("Nothing was attempted in this file. Is the notebook saved?")
    return "\n".join(lines)
