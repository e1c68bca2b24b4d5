"""The command line: one module here per command, imported only when its command is used.

A command module has ``SUMMARY`` (one line for the help), ``configure(parser)`` and
``run(args) -> int``. To add one: write the module, then add its name to ``COMMANDS``.
One that hands unknown arguments on to another program sets ``PASSES_ON = True`` and finds
them in ``args.rest``.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from course.errors import UserError

COMMANDS = (
    *(
        "lab",
        "test",
        "doctor",
        "compile",
        "run",
        "serve",
        "load",
        "simulate",
        "goodput",
        "place",
        "generate",
        "bench",
        "profile",
        "train",
    ),
    *("exercises", "check", "check-homework", "grade", "release", "build", "reproduce"),
)
"""In the order of the help. One whose module is still to come is not offered."""

BOOTSTRAP = ("lab", "test")
"""They make .venv, so they must run before anything is installed."""


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a mistake with one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Raise, so that every mistake of the user takes the same way out."""
        raise UserError(f"{message} ({self.prog} --help explains)")


def main(argv: Sequence[str]) -> int:
    """Run one command and turn its end, good or bad, into an exit status and at most one line."""
    warnings.formatwarning = warning_line
    try:
        try:
            status = dispatch(argv)
        except SystemExit as leaving:  # argparse, after --help
            status = leaving.code if isinstance(leaving.code, int) else 0
        sys.stdout.flush()
        return status
    except UserError as error:
        print("course:", *str(error).split(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncourse: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `... | head` has seen enough; the flush at exit must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """What a warning looks like: one of ours is one line, for the user; others say where in the code they arose."""
    if Path(filename).is_relative_to(Path(__file__).parents[1]):
        return f"course: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def dispatch(argv: Sequence[str]) -> int:
    """Find the command's module, let it read its arguments, run it."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    name, rest = argv[0], argv[1:]
    if name not in available():
        raise UserError(unknown(name))
    if name not in BOOTSTRAP and find_spec("torch") is None:
        from course.commands import environment

        environment.continue_inside(argv)  # comes back only where there is no .venv
    try:
        module = importlib.import_module(module_name(name))
        parser = Parser(prog=f"python -m course {name}", description=module.SUMMARY)
        module.configure(parser)
        if getattr(module, "PASSES_ON", False):
            args, unknown_arguments = parser.parse_known_args(rest)
            args.rest = unknown_arguments
        else:
            args = parser.parse_args(rest)
        return int(module.run(args) or 0)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "course":
            raise
        raise UserError(
            f"{name} needs {error.name}, which {sys.executable} does not have: "
            f"make lab (or python3 -m course lab) installs everything into .venv"
        ) from error


def module_name(command: str) -> str:
    """The module that does a command's work."""
    return f"course.commands.{command.replace('-', '_')}"


def module_file(command: str) -> Path:
    """Where that module stands."""
    return Path(__file__).with_name(command.replace("-", "_") + ".py")


def available() -> list[str]:
    """The commands that can be used today."""
    return [name for name in COMMANDS if module_file(name).exists()]


def summary(command: str) -> str:
    """A command's SUMMARY, read from its text: importing seven modules to print help would take seconds."""
    for statement in ast.parse(module_file(command).read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="SUMMARY")], value=value):
                return str(ast.literal_eval(value))
    return ""


def help_text() -> str:
    """What ``python -m course --help`` prints."""
    names = available()
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {summary(name)}" for name in names]
    return "\n".join(
        [
            "How large language models are served: a course.",
            "",
            "usage: python -m course COMMAND [options]",
            "",
            *lines,
            "",
            "python -m course COMMAND --help explains one command.",
        ]
    )


def unknown(name: str) -> str:
    """Name the known command nearest to what was typed."""
    near = difflib.get_close_matches(name, available(), n=1, cutoff=0.0)
    return f"there is no command {name!r}; the nearest is {near[0]!r} (python -m course --help lists all)"
