"""``python -m course compile``: what it needs and makes, and that nobody can tell the difference but by the clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from course import compiled
from course.commands import compile as command
from course.commands import main
from course.errors import UserError

SCRIPT = Path(__file__).with_name("compare_compiled.py")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place of the test's own for what is compiled."""
    monkeypatch.setattr(compiled, "FOLDER", tmp_path / ".compiled")
    return tmp_path / ".compiled"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled modules, made in a hurry: without the C compiler's optimisations."""
    try:
        command.check_tools()
    except UserError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("compiled")
    command.compile_to(folder / compiled.digest(), optimise=0)
    return folder


def told(*arguments: str) -> Any:
    """What the script prints in a Python of its own."""
    env = {name: value for name, value in os.environ.items() if name != "COURSE_COMPILED"}
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(SCRIPT), *arguments],
        cwd=compiled.ROOT,
        env={**env, "PYTHONPATH": str(compiled.ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_nobody_can_tell_the_difference(made: Path) -> None:
    plain, native = told("none"), told(str(made))
    assert native.pop("is_native")
    assert not plain.pop("is_native")
    assert native == plain


def test_the_rules_of_plans_hold_in_compiled_modules(made: Path) -> None:
    """The tests of the gate through which learners' plans come, run once more."""
    tests = [f"tests/serving/test_{name}.py" for name in ("draft", "instance", "sequence", "published_bugs")]
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(SCRIPT), str(made), *tests],
        cwd=compiled.ROOT,
        env={**os.environ, "COURSE_COMPILED": "1", "PYTHONPATH": str(compiled.ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("missing", ["mypyc", "setuptools"])
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == missing else find_spec(name))
    with pytest.raises(UserError, match=r"compile needs (mypy|setuptools): .* -m pip install"):
        command.check_tools()


def test_a_missing_compiler_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: True)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert main(["compile"]) == 2
    assert "needs a C compiler" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1
    assert not folder.exists()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match=r"cannot write to .*taken"):
        command.compile_to(tmp_path / "taken" / "0123456789abcdef")


def test_what_is_up_to_date_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / compiled.digest()).mkdir(parents=True)
    assert main(["compile"]) == 0
    assert "already" in capsys.readouterr().out


def test_it_can_be_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "0123456789abcdef").mkdir(parents=True)
    assert main(["compile", "--remove"]) == 0
    assert not folder.exists()
    assert main(["compile", "--remove"]) == 0
    assert "Nothing" in capsys.readouterr().out


def test_classes_are_opened_and_no_line_moves() -> None:
    source = '''"""What it is."""

from __future__ import annotations


@dataclass(slots=True)
class Record:
    x: int


class Clock(Base):
    pass


class Named(NamedTuple):
    x: int


class Rule(StagedModel, Protocol):
    pass
'''
    opened = command.open_classes(source)
    assert len(opened.splitlines()) == len(source.splitlines())
    before = opened.splitlines()
    marks = [before[index + 1] for index, line in enumerate(before) if line.startswith("@mypyc_attr")]
    assert marks == ["@dataclass(slots=True)", "class Clock(Base):"]
    assert before[2] == "from __future__ import annotations; from mypy_extensions import mypyc_attr"
