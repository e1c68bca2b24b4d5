"""A lab in a real browser: a student's mistake, the red check, the right answer, the cells that stay as they are."""

from __future__ import annotations

from course.commands.notebook_page import Notebook
from course.curriculum.contents import contents
from course.exercises import find

LAB = contents().labs[0]
STORE = find("lab1.store")


def test_a_student_works_on_the_lab(lab, page, in_both_themes) -> None:
    notebook = Notebook(page, lab, f"labs/{LAB.name}/{LAB.file}")
    place = {cell.source.splitlines()[0]: cell.index for cell in notebook.cells if cell.kind == "code"}
    answer, check = place['@exercise("lab1.store")'], place['check_cell("lab1.store")  # locked: 2 points']
    notebook.run(place["import math"])

    assert "NotPassedError: lab1.store is not handed in" in notebook.run(check).inner_text()
    mistake = next(mistake for mistake in STORE.mistakes if mistake.name == "positions start again at 0")
    said = notebook.type_and_run(answer, f'@exercise("lab1.store")\n{mistake.text}').inner_text()
    assert "Not yet" in said
    assert mistake.nudge.replace("`", "") in said
    assert mistake.nudge in notebook.run(check).inner_text()
    in_both_themes("lab")

    assert "Passed" in notebook.type_and_run(answer, STORE.solution_cell).inner_text()
    assert "✓ lab1.store" in notebook.run(check).inner_text()

    notebook.go_to(check).locator(".cm-content").click()
    page.keyboard.type("no")
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    page.keyboard.press("d")
    assert notebook.cells[check].source == 'check_cell("lab1.store")  # locked: 2 points'
    assert page.requests.outside == []


def test_the_hand_out_opens_as_a_page(lab, page) -> None:
    page.goto(lab.url("notebooks/index.ipynb"))
    page.get_by_role("link", name="hand-out").first.click()
    page.get_by_role("heading", name=LAB.heading).wait_for()
    page.get_by_role("heading", name="How it is graded").wait_for()
