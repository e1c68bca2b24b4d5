"""``python -m course build``: make the notebooks of lessons and labs from their texts, or check that they are fresh."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

SUMMARY = "make the notebooks from their sources (contributors)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="as 00_start_here or lab1; default all but drafts")
    parser.add_argument("--check", action="store_true", help="execute nothing; say which notebooks must be rebuilt")
    parser.add_argument("--solutions", type=Path, metavar="DIR", help="write the solution edition to DIR instead")
    parser.add_argument("--to", type=Path, metavar="DIR", help="write to DIR instead of notebooks/ and labs/")


def run(args: argparse.Namespace) -> int:
    """Build or check; 1 if something is stale."""
    from course.curriculum.sources import choose

    sources = choose(args.lessons)
    if args.check:
        return _check(sources, args.to)
    from course.curriculum.build import BuildError, build

    folder = args.solutions or args.to
    for source in sources:
        began = time.monotonic()
        try:
            file = build(source, folder, solutions=args.solutions is not None)
        except BuildError as error:
            print(error.traceback, file=sys.stderr, end="")
            raise
        print(f"{file} ({time.monotonic() - began:.0f} s, {file.stat().st_size / 1000:.0f} kB)", flush=True)
    if folder is None and not args.lessons:
        _refresh_tables()
    return 0


def _refresh_tables() -> None:
    """The contents page and the README list the lessons that are here."""
    from course.curriculum import index, readme

    index.build()
    readme.README.write_text(readme.with_lessons(readme.README.read_text(encoding="utf-8")), encoding="utf-8")


def _check(sources: list, folder: Path | None) -> int:
    from course.curriculum.check import stale

    found = stale(sources, folder)
    for name, reasons in found.items():
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        print(f"{name}: {reasons[0]}{more}; rebuild it: python -m course build {name}")
    if not found:
        print(f"up to date: {', '.join(source.name for source in sources) or 'nothing to check'}")
    return 1 if found else 0
