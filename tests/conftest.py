"""What all tests share."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

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
    """Here plotly checks all names and values of every figure, and interrupts arrive."""
    from course.figures import style

    style.is_checked = True
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as it is for what a shell starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadscope``: tests that share fixtures stay on one worker, those of a file or of a lesson in it."""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFileAndLesson(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid)

    return ByFileAndLesson(config, log)


def scope(nodeid: str) -> str:
    """What a test shares fixtures with: its file, or one lesson of it."""
    lesson = re.search(r"\[(\d\d_\w+\.ipynb)\]$", nodeid)
    return nodeid.split("::")[0] + (f":{lesson[1]}" if lesson else "")
