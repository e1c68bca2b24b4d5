"""``python -m course check``: judge one answer."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from course.errors import UserError

if TYPE_CHECKING:
    from course.exercises import Exercise

SUMMARY = "judge a file's answer to one exercise, as if it stood in a notebook cell"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", help="the exercise, as in kv_cache.kv_bytes (python -m course exercises lists all)")
    parser.add_argument("--solution", required=True, type=Path, metavar="FILE", help="a .py file, or a notebook")
    parser.add_argument("--seed", type=int, help="fixes the random inputs (default: new ones each time)")
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    """Print the verdict; 0 passed, 1 not."""
    from course.exercises.feedback import as_text
    from course.exercises.judge import judge
    from course.exercises.registry import find
    from course.exercises.warm import shared

    if args.seed is not None and args.seed < 0:
        raise UserError(f"--seed {args.seed} is negative: give 0 or more")
    exercise = find(args.id)
    text = answer_in(args.solution, exercise)
    try:
        verdict = judge(exercise, text, seed=args.seed)
    finally:
        shared().stop()
    print(json.dumps(verdict.as_dict(), indent=1) if args.json else as_text(verdict))
    return 0 if verdict.passed else 1


def answer_in(file: Path, exercise: Exercise) -> str:
    """The text of the file, or of the notebook's cell that hands the exercise in."""
    if file.suffix == ".ipynb":
        from course.exercises.submission import find_answer, read_cells

        cell = find_answer(exercise, read_cells(file)).cell
        if cell is None:
            raise UserError(f'{file} has no cell with @exercise("{exercise.id}"): add that line above the definition')
        return cell.text
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): give the file with your answer") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text in UTF-8: save it as plain Python") from error
