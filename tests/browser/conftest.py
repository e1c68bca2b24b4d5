"""JupyterLab as `make lab` starts it, and a Chromium that reports its requests, for the tests of a file.

They end with the file: while playwright runs, no other test of the same worker could run an event loop of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from course.commands.browser import new_page, running_chromium, running_lab
from course.errors import UserError


@pytest.fixture(scope="module")
def lab():
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    with running_lab() as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    """Skips, with the reason, where there is none."""
    try:
        with running_chromium() as browser:
            yield browser
    except UserError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def page(chromium):
    """A fresh page. `page.requests` lists what left the machine; nothing can be saved into the project."""
    with new_page(chromium) as (page, requests):
        page.requests = requests
        yield page


@pytest.fixture
def in_both_themes(page, tmp_path: Path):
    """Take a picture in JupyterLab's light and dark themes, which follow the system's."""

    def take(name: str) -> None:
        for theme, is_light in (("dark", "false"), ("light", "true")):
            page.emulate_media(color_scheme=theme)
            page.wait_for_selector(f"body[data-jp-theme-light='{is_light}']", state="attached")
            page.wait_for_load_state("networkidle")  # the theme's style sheet
            page.screenshot(path=tmp_path / f"{name}-{theme}.png")

    return take
