"""Every lesson and lab in a real browser: run it, move its controls by keyboard, make a mistake, put it right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from course.commands.browser import Requests, new_page
from course.commands.notebook_page import Notebook
from course.curriculum.contents import ROOT, contents
from course.exercises.definition import Exercise
from course.exercises.registry import find

if TYPE_CHECKING:
    from playwright.sync_api import Page

LESSONS = [lesson.file for lesson in contents().lessons if lesson.is_ready]
LABS = [str(file.relative_to(ROOT)) for file in sorted(ROOT.glob("labs/*/*.ipynb"))]
HANDED_IN = re.compile(r'@exercise\("([\w.]+)"\)')


@pytest.fixture(scope="module")
def window(chromium) -> Iterator[tuple[Page, Requests]]:
    """One JupyterLab, in which a learner goes from lesson to lesson."""
    with new_page(chromium) as opened:
        yield opened


@pytest.fixture(scope="module", params=LESSONS)
def lesson(request, lab, window) -> Iterator[tuple[Notebook, Requests]]:
    """A lesson, run from top to bottom as it is committed."""
    page, requests = window
    path = f"notebooks/{request.param}"
    notebook = Notebook(page, lab, path)
    notebook.run_all()
    yield notebook, requests
    lab.end_kernel(path)


def test_it_runs_to_its_end(lesson) -> None:
    notebook, _ = lesson
    assert [cell.errors for cell in notebook.cells if cell.errors] == []
    assert [cell.source for cell in notebook.cells if cell.kind == "code" and not cell.was_run] == []


def test_every_control_is_reached_and_moved_by_keyboard(lesson) -> None:
    notebook, _ = lesson
    explorers = notebook.explorers()
    assert explorers, "a lesson has an explorer"
    for explorer in explorers:
        explorer.controls[0].focus()
        for control in explorer.controls:
            for _ in range(3):  # a slider's number can be typed into: one more stop
                if not control.has_focus:
                    notebook.page.keyboard.press("Tab")
            assert control.has_focus, f"Tab does not reach {control.label!r}"
            before = explorer.drawn
            for back in (False, False, False, True, True, True, True):  # a step may change too little to be seen
                explorer.move(control, back=back)
                if explorer.drawn != before:
                    break
            assert explorer.drawn != before, f"{control.label!r} does not change the picture"


def test_a_picture_is_as_wide_as_its_place(lesson) -> None:
    notebook, _ = lesson
    [explorer, *_] = notebook.explorers()
    explorer.plot.scroll_into_view_if_needed()  # what is out of sight is drawn when it comes into sight
    notebook.page.wait_for_function(FITS, arg=[explorer.plot.element_handle(), 0])
    before = explorer.room_px
    notebook.ask("await jupyterapp.commands.execute('application:toggle-left-area');")
    notebook.page.wait_for_function(FITS, arg=[explorer.plot.element_handle(), before])
    notebook.ask("await jupyterapp.commands.execute('application:toggle-left-area');")


FITS = """([plot, before]) => {
  const drawn = plot.querySelector(".main-svg").getBoundingClientRect().width;
  return plot.clientWidth !== before && Math.abs(drawn - plot.clientWidth) < 2;
}"""


def test_a_mistake_is_understood_and_the_right_answer_passes(lesson) -> None:
    notebook, _ = lesson
    for said, exercise in solved(notebook):
        assert "Passed" in said
        assert f"goes on with your {exercise.name}" in said


def solved(notebook: Notebook) -> Iterator[tuple[str, Exercise]]:
    """Make a mistake in each exercise, read its nudge, put it right; what the cell then says, and the exercise."""
    handed_in = [(cell.index, found[1]) for cell in notebook.cells if (found := HANDED_IN.match(cell.source))]
    assert handed_in, "there are exercises"
    for index, exercise_id in handed_in:
        exercise = find(exercise_id)
        mistake = exercise.mistakes[0]
        wrong = mistake.text.replace(f"def {mistake.target}(", f"def {exercise.name}(")
        said = notebook.type_and_run(index, f'@exercise("{exercise_id}")\n{wrong}').inner_text()
        assert "Not yet" in said
        assert mistake.nudge.replace("`", "") in said
        yield notebook.type_and_run(index, exercise.solution_cell).inner_text(), exercise


def test_no_request_leaves_the_machine(lesson) -> None:
    _, requests = lesson
    assert requests.inside > 50, "JupyterLab's own requests were not seen"
    assert requests.outside == []


@pytest.mark.parametrize("lab_file", LABS)
def test_a_solved_lab_runs_to_its_end(lab_file, lab, chromium) -> None:
    with new_page(chromium) as (page, requests):
        notebook = Notebook(page, lab, lab_file)
        notebook.run(next(cell.index for cell in notebook.cells if cell.kind == "code"))
        for said, _ in solved(notebook):
            assert "Passed" in said
        notebook.run_all()
        assert [cell.errors for cell in notebook.cells if cell.errors] == []
        assert requests.outside == []
