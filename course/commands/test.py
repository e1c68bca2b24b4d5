"""``python -m course test``: every test of the project, or the ones that you name."""

from __future__ import annotations

import argparse
import sys

from course.commands import environment

SUMMARY = "run the tests (installs what they need the first time); further arguments go to pytest"

REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
PASSES_ON = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the one option of our own; everything else is pytest's."""
    parser.add_argument(
        "--here", action="store_true", help="use the running Python as it is; install nothing, make no .venv"
    )


def run(args: argparse.Namespace) -> int:
    """Install if need be, then become pytest."""
    python = sys.executable
    if not args.here:
        ours = environment.Environment()
        ours.prepare("test", REQUIREMENTS)
        python = str(ours.python)
    # Static figures, and one thread a process: two test workers on two cores must not fight.
    env = environment.settings(COURSE_WIDGETS="0", OMP_NUM_THREADS="1")
    environment.become([python, "-m", "pytest", *pytest_arguments(args.rest)], env)


def pytest_arguments(given: list[str]) -> list[str]:
    """The whole suite runs on two cores; a selection runs as the user says."""
    # Three workers, for many tests wait: for a kernel, a browser, a process that ends.
    # In the order of the files: browser tests, the longest, come first, and no worker is left with one at the end.
    return given or ["-n", "3", "--dist", "loadscope", "--no-loadscope-reorder"]
