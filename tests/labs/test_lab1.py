"""Lab 1: its exercises are sound, its parts join to a decoder, its notebook and its hand-out are up to date."""

from __future__ import annotations

import inspect
import re

import pytest

from course.curriculum.check import reasons_to_rebuild
from course.curriculum.lab1_kv_cache.tiny import TinyModel
from course.curriculum.sources import choose
from course.exercises import prove
from course.exercises.source import bare
from tests.labs.helpers import EXERCISES, LAB, handed_out

(SOURCE,) = choose([LAB.name])


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)


def test_hidden_checks_are_announced() -> None:
    assert [e.hidden_checks for e in EXERCISES] == [sum(c.hidden for c in e.checks) for e in EXERCISES]


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_each_hidden_check_finds_what_no_public_one_finds(exercise) -> None:
    hidden = {check.name for check in exercise.checks if check.hidden}
    assert {mistake.caught_by for mistake in exercise.mistakes} >= hidden


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_stub_and_reference_have_one_signature(exercise) -> None:
    heads = [text.partition(":\n")[0] for text in (exercise.stub, bare(inspect.getsource(reference_of(exercise))))]
    assert heads[0] == heads[1]


def reference_of(exercise):
    return exercise.reference


def test_the_notebook_says_what_its_source_says() -> None:
    assert reasons_to_rebuild(SOURCE) == [], "run: python -m course build lab1"


def test_each_exercise_has_its_cell_and_behind_it_its_check() -> None:
    cells = [cell for cell in handed_out().cells if cell.cell_type == "code"]
    ids = [cell.id for cell in cells]
    for exercise in EXERCISES:
        place = ids.index(f"exercise-{exercise.id.replace('.', '-')}")
        answer, check = cells[place].metadata.nbgrader, cells[place + 1].metadata.nbgrader
        assert (answer.solution, answer.grade, answer.locked) == (True, False, False)
        assert (check.solution, check.grade, check.locked, check.points) == (False, True, True, exercise.points)
        assert not cells[place + 1].metadata.editable


def test_the_notebook_imports_what_a_cell_may_use() -> None:
    imports = next(cell.source for cell in handed_out().cells if cell.id == "imports")
    for exercise in EXERCISES:
        for grant in exercise.grants:
            for name in re.findall(r"^def (\w+)|^import \w+ as (\w+)", grant):
                assert re.search(rf"\b{name[0] or name[1]}\b", imports), grant


def test_the_hand_out_states_points_and_hidden_checks() -> None:
    text = (LAB.folder / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \| `(\S+)` \| (\d+) \| .* \| (\d+) \|$", text, re.MULTILINE)
    assert rows == [(e.id, str(e.points), str(e.hidden_checks)) for e in EXERCISES]
    assert f"**{sum(e.points for e in EXERCISES)}**" in text
    assert f"about {LAB.time.replace('min', 'minutes')}" in text


def test_the_notebook_states_the_points() -> None:
    rows = re.findall(r"^\| \d \| `(\w+)` \| (\d+) \|", SOURCE.text.replace("# |", "|"), re.MULTILINE)
    assert rows == [(e.name, str(e.points)) for e in EXERCISES]


def test_nobody_finds_zeros_in_a_new_cache() -> None:
    """A student who looks behind the text gets NaN for an answer, not something that is nearly right."""
    tiny = TinyModel()
    assert all(layer.isnan().all() for layer in tiny.empty_cache(3))
    assert tiny.decode([tiny.token("\n")]) == "\n"
