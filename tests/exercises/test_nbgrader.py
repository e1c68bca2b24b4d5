"""A lab goes through nbgrader: full points for the solution, none for the stubs, hidden checks count."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
import pytest
from traitlets.config import Config

from course.curriculum.notebook import notebook_of
from course.curriculum.sources import choose
from course.exercises import Exercise, load
from course.exercises.leaks import leaks
from course.exercises.release import secrets_of_labs

NbGraderAPI = pytest.importorskip("nbgrader.apps", reason="not installed; requirements-dev.txt has it").NbGraderAPI
pytestmark = pytest.mark.filterwarnings("ignore::Warning:nbgrader", "ignore::Warning:sqlalchemy")

LAB = "lab1_kv_cache"


@pytest.fixture(scope="module", autouse=True)
def _alembic_is_found() -> Iterator[None]:
    """nbgrader calls this program, which stands beside the interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield


def nbgrader(folder: Path):
    """nbgrader at work in a course's folder, configured by nothing else."""
    config = Config()
    config.CourseDirectory.root = str(folder)
    return NbGraderAPI(config=config)


def with_answers(notebook: nbformat.NotebookNode, answers: Mapping[str, str]) -> nbformat.NotebookNode:
    """The notebook with these answers in the cells of their exercises."""
    for cell in notebook.cells:
        exercise_id = cell.metadata.get("course", {}).get("exercise")
        if exercise_id in answers:
            cell.source = f'@exercise("{exercise_id}")\n{answers[exercise_id]}'
    return notebook


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder of nbgrader: the solution edition is its source, the assignment is generated from that."""
    folder = tmp_path_factory.mktemp("nbgrader") / "serving"
    write(notebook_of(*choose([LAB]), solutions=True), folder / "source" / LAB)
    done = nbgrader(folder).generate_assignment(LAB)
    assert done["success"], done["log"]
    return folder


def write(notebook: nbformat.NotebookNode, place: Path) -> None:
    place.mkdir(parents=True)
    nbformat.write(notebook, place / f"{LAB}.ipynb")


def generated(folder: Path) -> nbformat.NotebookNode:
    return nbformat.read(folder / "release" / LAB / f"{LAB}.ipynb", as_version=4)


def test_the_generated_assignment_has_stubs_and_no_answer(folder: Path) -> None:
    text = {cell.metadata.get("course", {}).get("exercise"): cell.source for cell in generated(folder).cells}
    for exercise in load(LAB):
        head = exercise.stub_cell.rpartition("raise NotImplementedError")[0]
        assert text[exercise.id].startswith(head.rstrip()), "signature and docstring stay"
        assert "raise NotImplementedError()" in text[exercise.id]
    assert leaks({LAB: nbformat.writes(generated(folder)).encode()}, secrets_of_labs({LAB: load(LAB)})) == []


def test_solved_gets_all_points_stubs_none_and_hidden_checks_count(folder: Path) -> None:
    solution = notebook_of(*choose([LAB]), solutions=True)
    first, second, *_ = load(LAB)
    answers = {first.id: passes_public_checks_only(first), second.id: second.solution_cell.partition("\n")[2]}
    submissions = {"solved": solution, "partly": with_answers(generated(folder), answers)}
    api = nbgrader(folder)
    for student, notebook in submissions.items():
        write(notebook, folder / "submitted" / student / LAB)
        done = api.autograde(LAB, student)
        assert done["success"], done["log"]
    with api.gradebook as gradebook:
        marks = {one.student.id: (one.score, one.max_score) for one in gradebook.assignment_submissions(LAB)}
    full = sum(exercise.points for exercise in load(LAB))
    assert marks == {"solved": (full, full), "partly": (second.points, full)}


def passes_public_checks_only(exercise: Exercise) -> str:
    """A mistake that a hidden check is there for."""
    hidden = {check.name for check in exercise.checks if check.hidden}
    return next(mistake.text for mistake in exercise.mistakes if mistake.caught_by in hidden)
