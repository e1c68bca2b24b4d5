"""What all tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Before anything is imported that reads them. One thread: two test workers share two cores.
# Figures are static, and no model or tokenizer is ever looked up on a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COURSE_WIDGETS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# How long an example takes says something about the neighbours on this machine, not about the code.
settings.register_profile("course", deadline=None)
settings.load_profile("course")


def pytest_configure() -> None:
    """Here plotly checks all names and values of every figure."""
    from course.figures import style

    style.is_checked = True


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share fixtures stay on one worker: those of a file, or of one lesson in it."""
    for item in items:
        file = item.nodeid.split("::")[0]
        lesson = getattr(item, "callspec", None) and item.callspec.params.get("lesson")
        name = getattr(lesson, "file", lesson)  # as it stands in the table of contents, or its file's name
        item.add_marker(pytest.mark.xdist_group(f"{file}:{name}" if isinstance(name, str) else file))
