"""``python -m course grade``: one notebook, or a class's folder of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from course.errors import UserError

if TYPE_CHECKING:
    from course.exercises.grading import Report

SUMMARY = "grade a notebook, or a folder of students' notebooks"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", metavar="NOTEBOOK|LAB", help="a notebook; with --submissions, a lesson or lab")
    parser.add_argument("--lesson", help="the lesson that the notebook belongs to (default: seen from its exercises)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result to this file (- prints it)")
    parser.add_argument("--submissions", type=Path, metavar="DIR", help="grade every notebook below this folder")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="with --submissions: the table of points")
    parser.add_argument("--feedback", type=Path, metavar="DIR", help="with --submissions: a page for each student here")
    parser.add_argument("--jobs", type=int, help="with --submissions: so many at a time (default: one per core)")
    parser.add_argument("--seed", type=int, help="fixes the random inputs (default: new ones each time)")


def run(args: argparse.Namespace) -> int:
    """Grade; 0 once that is done, whatever the points."""
    if args.seed is not None and args.seed < 0:
        raise UserError(f"--seed {args.seed} is negative: give 0 or more")
    return grade_class(args) if args.submissions else grade_one(args)


def grade_one(args: argparse.Namespace) -> int:
    """One notebook."""
    from course.exercises.feedback import as_text
    from course.exercises.grading import grade_notebook
    from course.exercises.warm import shared

    if args.csv or args.feedback:
        raise UserError("--csv and --feedback are for a folder of notebooks: add --submissions DIR")
    try:
        report = grade_notebook(Path(args.what), args.lesson, seed=args.seed)
    finally:
        shared().stop()
    if args.json and str(args.json) == "-":
        print(json.dumps(report.as_dict(), indent=1))
        return 0
    if args.json:
        write_json(args.json, report.as_dict())
    for result in report.results:
        print(as_text(result.verdict, result.note))
    print(f"{report.lesson}: {report.points} of {report.max_points} points")
    return 0


def grade_class(args: argparse.Namespace) -> int:
    """A folder of notebooks."""
    from course.exercises.gradebook import grade_folder, write_csv, write_pages

    if args.csv is None and args.json is None:
        raise UserError("grading a folder needs a place for the points: add --csv FILE")
    reports = grade_folder(Path(args.what).name, args.submissions, seed=args.seed, jobs=args.jobs)
    if args.json:
        write_json(args.json, {student: report.as_dict() for student, report in reports.items()})
    if args.csv:
        write_csv(reports, args.csv)
    pages = args.feedback or (args.csv or args.json).with_suffix("")
    write_pages(reports, pages)
    print(summary(reports))
    print(f"points: {args.csv or args.json}, feedback: {pages}")
    return 0


def summary(reports: dict[str, Report]) -> str:
    """How the class did, and whom to look at by hand."""
    full = sum(report.points == report.max_points for report in reports.values())
    lines = [f"{len(reports)} notebooks graded, {full} with full points"]
    lines += [f"  {student}: {report.problem}" for student, report in reports.items() if report.problem]
    return "\n".join(lines)


def write_json(file: Path, value: object) -> None:
    """Write a result where it was asked for."""
    try:
        file.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}): name another file") from error
