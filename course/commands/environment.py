"""The .venv that ``lab`` and ``test`` work in: made once, checked quickly ever after.

Runs on a bare Python: standard library only. A stamp inside .venv holds a hash of the
requirement files that were installed; as long as it matches, nothing is done.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from course.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NEEDED_BYTES = 2_000_000_000  # a CPU-only environment takes 1.7 GB


@dataclass(frozen=True)
class Environment:
    """The virtual environment of one copy of the project."""

    root: Path = ROOT

    @property
    def folder(self) -> Path:
        """The environment itself."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def is_this_one(self) -> bool:
        """Whether the running interpreter is the one of this environment."""
        return Path(sys.prefix).resolve() == self.folder.resolve()

    def prepare(self, purpose: str, files: Sequence[str]) -> None:
        """Make sure that what ``files`` require is installed; quick when it already is."""
        stamp = self.folder / f".installed-for-{purpose}"
        wanted = self.fingerprint(files)
        if not (self.python.exists() and stamp.exists() and stamp.read_text() == wanted):
            stamp.unlink(missing_ok=True)
            self._check_room()
            self._create()
            self._install(files)
            stamp.write_text(wanted)
        self._point_to_course()

    def fingerprint(self, files: Sequence[str]) -> str:
        """Change when a requirement file does, or when the folder has moved (scripts hold its path)."""
        texts = [(self.root / name).read_bytes() for name in (*files, "constraints.txt")]
        return hashlib.sha256(b"\0".join([str(self.folder).encode(), *texts])).hexdigest()

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.root).free
        if free < NEEDED_BYTES and not self.folder.exists():
            raise UserError(
                f"the disk that holds {self.root} has {free / 1e9:.1f} GB free, "
                f"and .venv takes about {NEEDED_BYTES / 1e9:.0f} GB: make room, then run this again"
            )

    def _create(self) -> None:
        """Make the environment unless a working one, with pip, is there."""
        if self.is_this_one or (self.python.exists() and _succeeds([self.python, "-m", "pip", "--version"])):
            return
        if find_spec("venv") is None or find_spec("ensurepip") is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise UserError(
                f"{sys.executable} cannot make virtual environments. On Debian or Ubuntu: "
                f"sudo apt install python{version}-venv; then run this again"
            )
        print(f"Making .venv with Python {sys.version.split()[0]}.", flush=True)
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(self.folder)], capture_output=True, text=True
        )
        if made.returncode:
            raise UserError(f"could not make {self.folder}: {explain((made.stdout + made.stderr).splitlines())}")

    def _install(self, files: Sequence[str]) -> None:
        print("Installing the course's packages into .venv: a few minutes the first time.", flush=True)
        began = time.monotonic()
        command = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check"]
        for name in files:
            command += ["-r", name]
        status, lines = _watch([*command, "-c", "constraints.txt"], self.root)
        if status:
            raise UserError(f"pip could not install the course's packages: {explain(lines)}")
        print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)

    def _point_to_course(self) -> None:
        """Let notebooks and editors that use .venv import this copy of the course from anywhere."""
        for packages in (*self.folder.glob("lib/python3*/site-packages"), *self.folder.glob("Lib/site-packages")):
            pointer = packages / "course.pth"
            if not pointer.exists() or pointer.read_text() != f"{self.root}\n":
                pointer.write_text(f"{self.root}\n")


def continue_inside(argv: Sequence[str]) -> None:
    """Run the same command with the interpreter of .venv, if there is one other than this."""
    here = Environment()
    if here.python.exists() and not here.is_this_one:
        become([str(here.python), "-m", "course", *argv], settings())


def settings(**extra: str) -> dict[str, str]:
    """The environment variables of a child: the course importable, nothing reported to anyone."""
    found = {"HF_HUB_DISABLE_TELEMETRY": "1", **extra, **os.environ}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**found, "PYTHONPATH": os.pathsep.join(paths)}


def become(command: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Go on as another program: its output, its keyboard, its exit status."""
    sys.stdout.flush()
    if os.name == "nt":  # exec there returns to the shell at once
        sys.exit(subprocess.call(list(command), env=dict(env)))
    os.execve(command[0], list(command), dict(env))


def _succeeds(command: Sequence[str | Path]) -> bool:
    try:
        return subprocess.run(list(command), capture_output=True).returncode == 0
    except OSError:
        return False


def _watch(command: Sequence[str], folder: Path) -> tuple[int, list[str]]:
    """Run pip; on a terminal, show on one line what it is busy with."""
    lines: list[str] = []
    on_terminal = sys.stdout.isatty()
    with subprocess.Popen(
        list(command), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            lines.append(line.rstrip())
            if on_terminal and line.startswith(("Collecting", "  Downloading", "Installing")):
                print(f"\r\033[K  {line.strip()[:70]}", end="", flush=True)
    if on_terminal:
        print("\r\033[K", end="", flush=True)
    return pip.returncode, lines


UNREACHABLE = ("NewConnectionError", "name resolution", "timed out", "ConnectionError", "unreachable", "ProxyError")


def explain(lines: Iterable[str]) -> str:
    """Say in one sentence what a failed installation needs."""
    text = list(lines)
    whole = "\n".join(text)
    if "No space left" in whole:
        return "the disk is full; make about 2 GB of room, then run this again"
    if any(sign in whole for sign in UNREACHABLE):
        return "the package index cannot be reached; check the network or proxy, then run this again"
    if "Permission denied" in whole:
        return "no permission to write there; put the course into a folder of your own"
    reasons = [line for line in text if line.startswith("ERROR:")] or [line for line in text if line.strip()][-1:]
    reason = reasons[0].removeprefix("ERROR: ") if reasons else "it gave no reason"
    if "No matching distribution" in whole or "Cannot install" in whole:
        reason += f" (Python {sys.version.split()[0]}; the pinned versions are tested with 3.11)"
    return reason
