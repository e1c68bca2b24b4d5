"""The hot half of the control plane as machine code, where somebody has had it compiled.

``python -m course compile`` makes extension modules of the very sources of `MODULES`, in a folder of their own. `use`
lets them take the place of the sources, but only if they were made of exactly what stands there now, by this version of
Python. After any change, and with ``COURSE_COMPILED=0``, the sources count, as ever.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "course" / ".compiled"
SUFFIX = EXTENSION_SUFFIXES[0]  # says which Python, on which kind of machine
ROOMS = ("workload", "metrics", "serving", "simulator")
MODULES = (
    *("course.metrics.steps", "course.serving.sequence", "course.serving.pool", "course.serving.decoding"),
    *("course.serving.memory", "course.serving.batch", "course.serving.plan", "course.serving.draft"),
    *("course.serving.view", "course.serving.assembly", "course.serving.instance", "course.serving.transfer"),
    *("course.serving.cluster", "course.serving.schedulers.common", "course.serving.schedulers.turns"),
    *("course.serving.routers.base", "course.serving.routers.least_prefills", "course.serving.routers.least_queued"),
    *("course.serving.routers.least_requests", "course.serving.routers.load"),
    *("course.simulator.costs.fitted", "course.simulator.run", "course.simulator.lane", "course.simulator.virtual"),
)
"""What works at every event of a simulation. What learners write themselves or make by hand (policies, requests,
records) is not among it: there, anything goes that goes in Python."""


def sources(root: Path = ROOT) -> list[Path]:
    """The files that compiled modules depend on: all of the rooms that they stand in."""
    rooms = (file for room in ROOMS for file in sorted((root / "course" / room).rglob("*.py")))
    return [*rooms, root / "course" / "errors.py"]


def digest(root: Path = ROOT) -> str:
    """Changes with any of the sources, and with the version of Python."""
    found = hashlib.sha256(f"{sys.version} {SUFFIX} {MODULES}".encode())
    for file in sources(root):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


class Finder:
    """Finds the modules that lie in a folder, named as they are imported. Python asks it before it looks elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.files = {file.name.removesuffix(SUFFIX): file for file in folder.glob(f"*{SUFFIX}")}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is; None leaves it to others."""
        if (file := self.files.get(name)) is None:
            return None
        return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, str(file)))


def is_wanted() -> bool:
    """Unless ``COURSE_COMPILED=0``."""
    return os.environ.get("COURSE_COMPILED") != "0"


def use() -> None:
    """From now on, import what is compiled and up to date in place of its source."""
    if is_wanted() and (folder := FOLDER / digest()).is_dir():
        sys.meta_path.insert(0, Finder(folder))


def is_used() -> bool:
    """Whether this process imports compiled modules."""
    return any(isinstance(finder, Finder) for finder in sys.meta_path)
