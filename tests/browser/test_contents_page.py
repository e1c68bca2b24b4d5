"""The first thing a newcomer sees."""

from __future__ import annotations

from course.curriculum.contents import contents


def test_the_contents_page_shows_the_course_and_runs_its_cell(lab, page, in_both_themes) -> None:
    course = contents()
    page.goto(lab.url())
    page.get_by_role("heading", name=course.title).wait_for()
    page.get_by_text(course.lessons[-1].question).wait_for()
    text = page.inner_text(".jp-Notebook")
    assert [lesson.name for lesson in course.lessons if lesson.question not in text] == []

    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    cell = page.locator(".jp-CodeCell").first
    cell.locator(".cm-content").click()
    for run in (1, 2):  # the saved page says [1]; only a living kernel makes it [2]
        page.keyboard.press("Control+Enter")
        cell.get_by_text(f"[{run}]:").wait_for()
    assert "Everything the course needs is installed" in cell.inner_text()
    assert "TTFT" in cell.inner_text()

    in_both_themes("contents")
    assert page.requests.outside == []
