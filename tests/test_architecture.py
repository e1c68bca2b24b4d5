"""The rules that keep the project readable: who may import whom, and what a file looks like."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "course").rglob("*.py"))
LONGEST = 400  # lines; one idea per file rarely needs 250


def tracked_files() -> list[Path]:
    """The files of the project as git knows them; without git, every file of its own folders."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    folders = ("course", "docs", "notebooks", "labs", "tests", ".ci")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]


def fresh_python(code: str) -> str:
    """What a new interpreter in the project's folder prints."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "COURSE_COMPILED": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_rooms_import_only_from_the_rooms_before_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    importlinter = pytest.importorskip("importlinter.cli", reason="import-linter is not installed")
    monkeypatch.chdir(ROOT)
    broken = importlinter.lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert broken == 0, capsys.readouterr().out


@pytest.mark.parametrize("room", ["course", "course.serving", "course.workload", "course.metrics", "course.commands"])
def test_the_control_plane_imports_without_torch(room: str) -> None:
    loaded = fresh_python(f"import sys, {room}; print(*sys.modules)").split()
    assert not {"torch", "transformers", "ipywidgets", "IPython", "plotly"} & set(loaded)


def test_importing_the_course_imports_nothing_heavy() -> None:
    loaded = fresh_python("import sys; before = set(sys.modules); import course; print(*set(sys.modules) - before)")
    assert set(loaded.split()) == {"course"}


def test_ruff_finds_nothing() -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_and_is_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name != "lesson.py":  # the text of a notebook speaks for itself
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring that says what it is"
    if path.parent.parent.name != "curriculum":  # a lesson is as long as it is; its exercises stand together
        assert text.count("\n") <= LONGEST, f"{path} is longer than {LONGEST} lines: split it by ideas"


# Folders of one person's machine. A file that names them works nowhere else.
MACHINE_PATH = re.compile(r"""(?<![\w.~$}/-])/(?:root|home/\w|Users/\w|work|mnt|private|opt/(?!homebrew)\w)[\w./-]*""")
TEXT_ENDINGS = {".py", ".md", ".ipynb", ".toml", ".txt", ".json", ".csv", ".cfg", ".yml", ".yaml", ""}


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    mine = Path(__file__)
    found = []
    for path in tracked_files():
        if path.suffix not in TEXT_ENDINGS or path == mine or path.stat().st_size > 2_000_000:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if hit := MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {hit[0]}")
    assert not found, "\n".join(found)


def test_requirement_files_name_no_index_and_everything_is_pinned() -> None:
    pins = {canonical(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        for line in (ROOT / name).read_text().splitlines():
            wanted = line.partition("#")[0].strip()
            if not wanted:
                continue
            assert "://" not in wanted, f"{name} names an index or a file: {line}"
            assert not wanted.startswith("-"), f"{name} holds an option of pip: {line}"
            assert canonical(wanted) in pins, f"{wanted} of {name} is not pinned in constraints.txt"


def canonical(requirement: str) -> str:
    """The package's name as pip compares it."""
    name = re.split(r"[<>=!~\[; ]", requirement.strip(), maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.skipif(os.name == "nt", reason="file modes are a matter of Unix")
def test_the_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
