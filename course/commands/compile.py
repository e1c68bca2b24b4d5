"""``python -m course compile``: the simulator's hot modules as machine code, for those who simulate a lot.

mypyc (it comes with mypy) compiles annotated Python to C, and the machine's C compiler does the rest. The sources are
those of the course, to the line, but for one thing: classes are opened for subclasses in plain Python.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from course import compiled
from course.errors import UserError

SUMMARY = "make the simulator more than twice as fast (optional; needs mypy and a C compiler)"

_CLASS = re.compile(r"^\n((?:@.*\n)*class \w+(?:\((.*)\))?:)", re.MULTILINE)
_NEVER_NATIVE = re.compile(r"\b(NamedTuple|Protocol|Enum|Exception)\b")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--remove", action="store_true", help="go back to plain Python: delete what was compiled")


def run(args: argparse.Namespace) -> int:
    """Compile, or remove what was compiled, and say so."""
    if args.remove:
        was_there = compiled.FOLDER.exists()
        shutil.rmtree(compiled.FOLDER, ignore_errors=True)
        print("Removed: the simulator is plain Python again." if was_there else "Nothing has been compiled here.")
        return 0
    target = compiled.FOLDER / compiled.digest()
    if target.is_dir():
        print("Compiled already, from the sources as they are.")
        return 0
    check_tools()
    print(f"Compiling {len(compiled.MODULES)} modules: about a minute.", flush=True)
    began = time.monotonic()
    compile_to(target)
    for older in set(compiled.FOLDER.iterdir()) - {target}:
        shutil.rmtree(older, ignore_errors=True)
    print(f"Compiled in {time.monotonic() - began:.0f} s. Every Python that imports the course uses it from now on,")
    print("until a source changes; then compile again. Back to plain Python: python -m course compile --remove")
    return 0


def check_tools() -> None:
    """Raise UserError unless mypy, a C compiler and Python's headers are there, naming what is missing."""
    absent = [name for name, module in (("mypy", "mypyc"), ("setuptools", "setuptools")) if find_spec(module) is None]
    if absent:
        raise UserError(f"compile needs {' and '.join(absent)}: {sys.executable} -m pip install {' '.join(absent)}")
    if not has_compiler():
        raise UserError(
            "compile needs a C compiler and there is none: install gcc or clang (Debian and Ubuntu: sudo apt install "
            "gcc; macOS: xcode-select --install). Without it everything works as it does, only slower"
        )
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise UserError(f"compile needs Python's headers (Debian and Ubuntu: sudo apt install python{version}-dev)")


def has_compiler() -> bool:
    """Whether the C compiler that setuptools would call can be found."""
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return os.name == "nt" or shutil.which(command.split()[0]) is not None


def compile_to(target: Path, optimise: int = 2) -> None:
    """Compile the modules and put them into ``target``, all at once. Raises UserError with what the compiler says."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"compile cannot write to {target.parent} ({error.strerror}): it must be your own") from error
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as name:
        workshop, made = Path(name) / "sources", Path(name) / "made"
        copy_sources(workshop)
        files = [f"{module.replace('.', '/')}.py" for module in compiled.MODULES]
        options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]
        settings = {
            "MYPYC_OPT_LEVEL": str(optimise),
            "MYPYC_DEBUG_LEVEL": "0",
            "CFLAGS": f"{os.environ.get('CFLAGS', '')} -w",  # the C is mypyc's: a compiler's remarks help nobody
            "PYTHONPATH": "",
        }
        ran = subprocess.run(
            [sys.executable, "-m", "mypyc", *options, *files],
            cwd=workshop,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
        )
        if ran.returncode:
            errors = [line for line in (ran.stdout + ran.stderr).splitlines() if "error" in line.lower()]
            raise UserError(f"compiling failed: {(errors or ['no reason given'])[0]}")
        made.mkdir()
        for file in [*workshop.glob(f"*{compiled.SUFFIX}"), *workshop.glob(f"course/**/*{compiled.SUFFIX}")]:
            shutil.move(file, made / ".".join(file.relative_to(workshop).parts))
        made.rename(target)


def copy_sources(folder: Path) -> None:
    """The sources as they are compiled: line by line the same."""
    for file in [*compiled.sources(), compiled.ROOT / "course" / "__init__.py"]:
        copy = folder / file.relative_to(compiled.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    for module in compiled.MODULES:
        copy = folder / f"{module.replace('.', '/')}.py"
        copy.write_text(open_classes(copy.read_text(encoding="utf-8")), encoding="utf-8")


def open_classes(source: str) -> str:
    """The same source, whose classes may have subclasses that are not compiled. No line moves."""

    def opened(found: re.Match[str]) -> str:
        if _NEVER_NATIVE.search(found[2] or ""):
            return found[0]
        return "@mypyc_attr(allow_interpreted_subclasses=True)\n" + found[1]

    future = "from __future__ import annotations"
    return _CLASS.sub(opened, source).replace(future, f"{future}; from mypy_extensions import mypyc_attr", 1)
