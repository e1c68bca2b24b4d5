"""Making .venv: done once, quick ever after, and a sentence for everything that can go wrong."""

from __future__ import annotations

import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from course.commands import environment
from course.commands.environment import Environment, explain
from course.errors import UserError

FILES = ("requirements.txt",)


@pytest.fixture
def project(tmp_path: Path) -> Environment:
    """A project whose .venv needs nothing, so that pip installs it without a network."""
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        (tmp_path / name).write_text("# nothing\n")
    return Environment(tmp_path)


@pytest.fixture
def installs(project: Environment, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stand in for venv and pip; note each call of pip."""
    calls: list[list[str]] = []

    def create(self: Environment) -> None:
        self.python.parent.mkdir(parents=True, exist_ok=True)
        self.python.touch()
        (self.folder / "lib" / "python3.11" / "site-packages").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(Environment, "_create", create)
    monkeypatch.setattr(environment, "_watch", lambda command, folder: calls.append(command) or (0, []))
    return calls


def test_the_second_time_nothing_is_installed(project: Environment, installs: list[list[str]]) -> None:
    project.prepare("lab", FILES)
    project.prepare("lab", FILES)
    assert len(installs) == 1
    assert "requirements.txt" in installs[0]
    assert "constraints.txt" in installs[0]


@pytest.mark.parametrize("changed", ["requirements.txt", "constraints.txt"])
def test_a_changed_requirement_is_installed(project: Environment, installs: list[list[str]], changed: str) -> None:
    project.prepare("lab", FILES)
    (project.root / changed).write_text("# something else\n")
    project.prepare("lab", FILES)
    assert len(installs) == 2


def test_tests_need_more_than_the_lab(project: Environment, installs: list[list[str]]) -> None:
    project.prepare("lab", FILES)
    project.prepare("test", (*FILES, "requirements-dev.txt"))
    project.prepare("lab", FILES)
    assert len(installs) == 2
    assert "requirements-dev.txt" in installs[1]


def test_a_failed_installation_is_tried_again(
    project: Environment, installs: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(environment, "_watch", lambda command, folder: (1, ["ERROR: No space left on device"]))
        with pytest.raises(UserError, match="disk is full"):
            project.prepare("lab", FILES)
    project.prepare("lab", FILES)
    assert len(installs) == 1


def test_the_environment_finds_the_course(project: Environment, installs: list[list[str]]) -> None:
    project.prepare("lab", FILES)
    pointer = project.folder / "lib" / "python3.11" / "site-packages" / "course.pth"
    assert pointer.read_text() == f"{project.root}\n"
    pointer.write_text("a folder that has moved\n")
    project.prepare("lab", FILES)
    assert pointer.read_text() == f"{project.root}\n"


def test_a_python_without_venv_is_told_what_to_install(project: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"apt install python3\.\d+-venv"):
        project.prepare("lab", FILES)


def test_a_full_disk_is_noticed_before_anything_is_written(
    project: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: usage(10**10, 10**10, 10**8))
    with pytest.raises(UserError, match=r"0\.1 GB free"):
        project.prepare("lab", FILES)
    assert not project.folder.exists()


def test_a_real_environment_is_made_and_mended(project: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ensurepip", reason="this Python cannot make environments")
    project.folder.mkdir()  # as an interrupted first try leaves it
    project.prepare("lab", FILES)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3, said
    subprocess.run([project.python, "-m", "pip", "--version"], check=True, capture_output=True)
    project.prepare("lab", FILES)
    assert capsys.readouterr().out == ""


def test_pip_is_watched_to_its_end(tmp_path: Path) -> None:
    code = "import sys; print('Collecting torch'); print('ERROR: boom', file=sys.stderr); sys.exit(3)"
    status, lines = environment._watch([sys.executable, "-u", "-c", code], tmp_path)
    assert (status, lines) == (3, ["Collecting torch", "ERROR: boom"])


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError(...)'", "cannot be reached"),
        ("ERROR: [Errno 13] Permission denied: '/usr/lib/python3'", "no permission"),
        ("ERROR: No matching distribution found for torch==2.13.0", "torch==2.13.0 (Python 3"),
        ("ERROR: something new", "something new"),
        ("", "no reason"),
    ],
)
def test_what_went_wrong_is_said_in_one_sentence(said: str, sentence: str) -> None:
    assert sentence in explain(["Collecting torch", said] if said else [])
