"""``python -m course release``: what students get."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "write the students' copy: all but the labs' answers, as a folder and a zip"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to; a former release there is replaced")


def run(args: argparse.Namespace) -> int:
    """Put it together, search it for answers, write it, say what it holds."""
    from course.curriculum.contents import contents
    from course.exercises.release import check_free, prepare, write
    from course.exercises.show import many

    check_free(args.folder)
    course = contents()
    lessons = [lesson.file for lesson in course.lessons if lesson.is_ready]
    labs = [lab.name for lab in course.labs if lab.is_ready]
    release = prepare(lessons, labs)
    folder, archive = write(release, args.folder)
    packed, unpacked = archive.stat().st_size / 1e6, sum(map(len, release.files.values())) / 1e6
    print(f"{folder}: {many(len(lessons), 'lesson')}, {many(len(labs), 'lab')} ({', '.join(labs) or 'none is ready'})")
    print(f"{archive}: the same {len(release.files)} files, {packed:.1f} MB; unpacked {unpacked:.1f} MB")
    print(f"Searched for {release.num_secrets} lines of answers and hidden checks; none is in them.")
    return 0
