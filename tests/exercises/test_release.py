"""What students get: made as a teacher makes it, installed and used as a student does, searched for answers."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from course.commands import main
from course.curriculum.contents import contents
from course.errors import UserError
from course.exercises import find, load, release
from course.exercises.grading import grade_notebook
from course.exercises.leaks import leaks
from course.exercises.release import EARLIEST, MANIFEST, NAME, secrets_of_labs, without_cuts

ROOT = Path(__file__).parents[2]
LAB = "lab1_kv_cache"


@dataclass(frozen=True)
class Copy:
    """A student's copy: the unpacked zip with an environment of its own."""

    folder: Path
    home: Path

    def python(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run its Python with nothing of this process's environment but where programs stand."""
        return subprocess.run(
            [self.folder / ".venv/bin/python", *arguments],
            cwd=cwd or self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def solved(self, name: str, answer: Callable[[str], str]) -> Path:
        """The lab's notebook with an answer in every exercise's cell."""
        notebook = nbformat.read(self.notebook, as_version=4)
        answered = set()
        for cell in notebook.cells:
            if exercise_id := cell.metadata.get("course", {}).get("exercise"):
                cell.source = answer(exercise_id)
                answered.add(exercise_id)
        assert answered == {exercise.id for exercise in load(LAB)}
        nbformat.write(notebook, self.notebook.with_name(name))
        return self.notebook.with_name(name)

    @property
    def notebook(self) -> Path:
        return self.folder / "labs" / LAB / f"{LAB}.ipynb"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `python -m course release` has written."""
    target = tmp_path_factory.mktemp("teacher") / "handout"
    done = subprocess.run(
        [sys.executable, "-m", "course", "release", str(target)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(zip_of(target))} files" in done.stdout
    return target


@pytest.fixture(scope="module")
def copy(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The zip, unpacked and installed by the copy's own code, as its `make lab` does.

    To fetch torch again would take minutes. So the copy's environment begins with a path to the packages of this one. A
    path in a .pth file adds that folder to sys.path and reads no .pth file in it: this checkout stays out of reach,
    which the first test below makes sure of. pip then finds everything installed, and fetches nothing.
    """
    home = tmp_path_factory.mktemp("student")
    with zipfile.ZipFile(released / f"{NAME}.zip") as archive:
        archive.extractall(home)
    student = Copy(home / NAME, home)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", student.folder / ".venv"], check=True, timeout=60)
    (packages,) = student.folder.glob(".venv/lib/python3*/site-packages")
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "here.pth").write_text("\n".join(ours) + "\n")
    install = "from course.commands import environment, lab; environment.Environment().prepare('lab', lab.REQUIREMENTS)"
    done = student.python("-c", install)
    assert done.returncode == 0, done.stdout + done.stderr
    return student


def zip_of(target: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(target / f"{NAME}.zip") as archive:
        return {name.removeprefix(f"{NAME}/"): archive.read(name) for name in archive.namelist()}


def folder_of(target: Path) -> dict[str, bytes]:
    top = target / NAME
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


# The student's copy works by itself


def test_the_copy_imports_itself_and_nothing_of_this_checkout(copy: Copy) -> None:
    done = copy.python("-c", "import course, sys; print(course.__file__, *sys.path, sep='\\n')", cwd=copy.home)
    first, *paths = done.stdout.splitlines()
    assert first == str(copy.folder / "course/__init__.py")
    assert str(ROOT) not in paths


def test_the_lab_is_solved_in_the_copy(copy: Copy) -> None:
    solved = copy.solved("solved.ipynb", lambda exercise_id: find(exercise_id).solution_cell)
    done = copy.python("-m", "course", "check-homework", str(solved))
    assert done.returncode == 0, done.stdout + done.stderr
    for exercise in load(LAB):
        assert exercise.id in done.stdout
    untouched = copy.python("-m", "course", "check-homework", str(copy.notebook))
    assert untouched.returncode == 1, untouched.stdout + untouched.stderr


def test_hidden_checks_are_the_teachers_alone(copy: Copy) -> None:
    """An answer that only hidden checks find fault with passes in the copy, and gets no points here."""
    hidden = {mistake.target: mistake for mistake in mistakes_that_hidden_checks_catch()}

    def answer(exercise_id: str) -> str:
        return f'@exercise("{exercise_id}")\n{hidden[find(exercise_id).name].text}'

    assert hidden.keys() == {exercise.name for exercise in load(LAB)}
    wrong = copy.solved("wrong.ipynb", answer)
    done = copy.python("-m", "course", "check-homework", str(wrong), "--seed=0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert grade_notebook(wrong, seed=0).points == 0


def mistakes_that_hidden_checks_catch():
    for exercise in load(LAB):
        hidden = {check.name for check in exercise.checks if check.hidden}
        yield from (mistake for mistake in exercise.mistakes if mistake.caught_by in hidden)


def test_other_commands_work_in_the_copy(copy: Copy, tmp_path: Path) -> None:
    exercise = load("kv_cache")[0]
    (tmp_path / "answer.py").write_text(exercise.solution_cell)
    checked = copy.python("-m", "course", "check", exercise.id, "--solution", str(tmp_path / "answer.py"), "--json")
    assert json.loads(checked.stdout)["passed"], checked.stderr
    shown = copy.python("-m", "course", "--help").stdout
    assert "check-homework" in shown
    assert not {"release", "build", "test"} & set(shown.split())


# Nothing is missing


def test_every_import_in_the_copy_leads_somewhere(released: Path) -> None:
    files = folder_of(released)
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files}
    for name, data in files.items():
        if name.endswith(".py"):
            for node in ast.walk(ast.parse(data)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "course":
                    assert node.module in modules, f"{name} imports {node.module}, which is not released"


def test_every_link_in_the_copy_leads_somewhere(released: Path) -> None:
    top, seen = released / NAME, 0
    for page in [*top.rglob("*.md"), *top.rglob("*.ipynb")]:
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".ipynb":
            text = "\n".join(cell.source for cell in nbformat.reads(text, 4).cells if cell.cell_type == "markdown")
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target:
                seen += 1
                assert (page.parent / target).exists(), f"{page.relative_to(top)} links to {target}"
    assert seen > 10


def test_the_copys_readme_and_makefile_are_for_students(released: Path) -> None:
    readme, makefile = ((released / NAME / name).read_text() for name in ("README.md", "Makefile"))
    assert "make lab" in readme
    assert "check-homework" in readme
    assert "## Licence" in readme
    for word in ("For a teacher", "For a contributor", "make test", "not in a release"):
        assert word not in readme + makefile


@pytest.mark.parametrize("name", release.WITH_CUTS)
def test_regions_that_are_cut_are_closed(name: str) -> None:
    marks = re.findall(r"(end of what is )?not in a release", (ROOT / name).read_text())
    assert marks
    assert marks == ["", "end of what is "] * (len(marks) // 2)


def test_all_lessons_and_labs_that_are_ready_are_in_it(released: Path) -> None:
    files = folder_of(released)
    wanted = [f"notebooks/{lesson.file}" for lesson in contents().lessons if lesson.is_ready]
    wanted += [f"labs/{lab.name}/{name}" for lab in contents().labs for name in (lab.file, "README.md")]
    assert set(wanted) <= set(files)


# No answer is in it


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    return secrets_of_labs({LAB: load(LAB)})


def test_no_answer_is_in_the_zip_nor_in_what_it_unpacks_to(released: Path, secrets: dict[str, str]) -> None:
    files = zip_of(released)
    assert leaks({"handout.zip": (released / f"{NAME}.zip").read_bytes()}, secrets) == []
    assert not [name for name in files if re.search(r"hidden|solution|\.pyc$|^tests/", name)]
    assert folder_of(released) == files


def test_every_answer_is_looked_for(secrets: dict[str, str]) -> None:
    """Each reference, hidden check and nudge would be found if it were handed out; but for a nudge of a lesson, too."""
    lessons = "".join(file.read_text() for file in (ROOT / "course/curriculum").glob("lesson_*/exercises.py"))
    for exercise in load(LAB):
        nudges = [mistake.nudge for mistake in exercise.mistakes if mistake.nudge not in lessons]
        checks = [inspect.getsource(check.cases) for check in exercise.checks if check.hidden]
        assert checks
        assert nudges
        for text in (exercise.solution_cell, *exercise.alternatives, *nudges, *checks):
            assert leaks({"x.md": text.encode()}, secrets), f"{exercise.id}: nobody would notice {text!r}"


@pytest.mark.parametrize("place", ["constraints.txt", f"labs/{LAB}/{LAB}.ipynb"])
def test_a_release_that_would_leak_is_not_written(
    place: str,
    secrets: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = next(line for line, whose in secrets.items() if whose == f"the reference of {load(LAB)[0].id}")
    whole = release.student_files

    def careless(*arguments: object) -> dict[str, bytes]:
        files = whole(*arguments)
        if place.endswith(".ipynb"):
            notebook = nbformat.reads(files[place].decode(), 4)
            notebook.cells[0].source += f"\n    {line}"
            return files | {place: nbformat.writes(notebook).encode()}
        return files | {place: files[place] + f"\n# {line}\n".encode()}

    monkeypatch.setattr(release, "student_files", careless)
    assert main(["release", str(tmp_path / "handout")]) == 2
    said = capsys.readouterr().err
    assert f"would give away an answer: {place} holds" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "handout").exists()


def test_a_solved_notebook_is_not_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exercise = load(LAB)[0]
    cells = [nbformat.v4.new_code_cell(text) for text in (exercise.stub_cell, exercise.stub_cell + "    # my idea\n")]
    for number, cell in enumerate(cells):
        (tmp_path / f"{number}").mkdir()
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{number}" / "a.ipynb")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    release.check_unsolved({"0/a.ipynb": b""}, [exercise])
    with pytest.raises(UserError, match=rf"1/a.ipynb has an answer to {exercise.id}"):
        release.check_unsolved({"1/a.ipynb": b""}, [exercise])


def test_a_lab_that_is_not_handed_out_is_not_in_the_copy_at_all() -> None:
    files = release.student_files([], [])
    assert "course/model/config.py" in files
    assert not [name for name in files if "lab1" in name]
    for path in (f"course/curriculum/{LAB}/data/solutions.py", "course/curriculum/lab7_draft/solutions.py"):
        assert not release.is_for_students(path, [LAB])


def test_what_does_not_belong_to_a_lab_is_named() -> None:
    assert release.belongs(f"labs/{LAB}/data/prompts.json", LAB)
    with pytest.raises(UserError, match=f"labs/{LAB}/grades.csv is neither"):
        release.belongs(f"labs/{LAB}/grades.csv", LAB)


# Folder and zip


def test_the_manifest_lists_every_file(released: Path) -> None:
    lines = (released / NAME / MANIFEST).read_text().splitlines()
    assert {line.partition("  ")[2] for line in lines} == folder_of(released).keys() - {MANIFEST}
    assert release.changed_since(released / NAME) == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_the_manifest_is_what_sha256sum_reads(released: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--quiet", MANIFEST], cwd=released / NAME, capture_output=True)
    assert done.returncode == 0, done.stdout


def test_the_zip_is_the_same_every_time(released: Path, tmp_path: Path) -> None:
    files = zip_of(released)
    _, archive = release.write(release.Release(dict(reversed(files.items())), [], [], 0), tmp_path / "again")
    assert archive.read_bytes() == (released / archive.name).read_bytes()
    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == sorted(packed.namelist())
        assert {entry.date_time for entry in packed.infolist()} == {EARLIEST}


def test_a_former_release_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    made = release.Release({"a.txt": b"1", MANIFEST: release.manifest({"a.txt": b"1"})}, [], [], 0)
    target = tmp_path / "handout"
    for _time in range(2):
        folder, archive = release.write(made, target)
    (target / "notes.txt").write_text("the teacher's")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").touch()
    release.write(made, target)
    assert sorted(path.name for path in target.iterdir()) == [NAME, archive.name, "notes.txt"]
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "a.txt"]
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("tried out")
        with pytest.raises(UserError, match=f"{name} was made or changed after the release"):
            release.write(made, target)
        (folder / name).write_text("1") if name == "a.txt" else (folder / name).unlink()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("full", "full is not empty and holds no former release"),
        ("full/file.txt", "is a file: name a folder"),
        (str(ROOT / "labs" / "handout"), "lies in labs/, which is released itself"),
        (str(ROOT / "course"), "lies in course/"),
    ],
)
def test_where_no_release_is_written(
    target: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file.txt").write_text("precious")
    assert main(["release", str(tmp_path / target)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert (tmp_path / "full" / "file.txt").read_text() == "precious"


def test_cuts() -> None:
    assert without_cuts("a\n<!-- not in a release -->\nb\n<!-- end of what is not in a release -->\nc\n") == "a\nc\n"
