"""Which lessons there are, how they are called, and the way from one to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from course.curriculum.frame import closing, navigation, opening
from course.curriculum.sources import Source, choose, read_sources, text_file
from course.errors import UserError
from tests.curriculum.helpers import TEXT, course_with


def test_drafts_are_not_offered_and_nobody_links_to_them(tmp_path: Path) -> None:
    sources = course_with(tmp_path, {0: TEXT, 1: "# draft\n\n" + TEXT, 2: TEXT})
    assert [source.name for source in sources] == ["00_start_here", "02_kv_cache"]
    assert navigation(sources[0]) == "[Contents](index.ipynb) · [02 The KV cache](02_kv_cache.ipynb) →"
    assert navigation(sources[1]) == "← [00 Start here](00_start_here.ipynb) · [Contents](index.ipynb)"
    (draft,) = choose(["attention"], tmp_path)
    assert draft.is_draft
    assert navigation(draft).startswith("← [00 Start here](00_start_here.ipynb) · [Contents](index.ipynb) · [02")


def test_the_opening_has_title_question_and_time(tmp_path: Path) -> None:
    (source,) = course_with(tmp_path, {2: TEXT})
    text = opening(source).source
    assert "# 02 · The KV cache" in text
    assert "Why are there two phases" in text
    assert "About 45 min." in text
    assert navigation(source) in closing(source).source


@pytest.mark.parametrize("source", read_sources(), ids=lambda source: source.name)
def test_a_lesson_that_loads_the_model_runs_it_on_one_thread(source: Source) -> None:
    # Two threads wait for each other at every operation: on a machine with other work, ten times as long.
    code = "".join(file.read_text() for file in text_file(source.lesson).parent.glob("*.py"))
    assert "load_model(" not in code or "torch.set_num_threads(1)" in code


@pytest.mark.parametrize("name", ["00_start_here", "start_here", "0", "00"])
def test_a_lesson_has_several_names(name: str, tmp_path: Path) -> None:
    course_with(tmp_path, {0: TEXT})
    assert [source.name for source in choose([name, "00"], tmp_path)] == ["00_start_here"]


def test_an_unknown_lesson_is_answered_with_the_nearest(tmp_path: Path) -> None:
    course_with(tmp_path, {0: TEXT, 2: TEXT})
    with pytest.raises(UserError, match="no lesson 'kv_cash'; the nearest is '02_kv_cache'"):
        choose(["kv_cash"], tmp_path)


def test_every_lesson_of_the_course_can_be_read() -> None:
    assert [source.lesson.number for source in read_sources()] == sorted(s.lesson.number for s in read_sources())
