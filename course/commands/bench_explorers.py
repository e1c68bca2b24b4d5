"""How long a moved control takes to become a picture: in the kernel, and in a browser from the key to the picture."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import unittest.mock
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import nbformat

from course.commands.browser import new_page, running_chromium, running_lab
from course.commands.notebook_page import Notebook
from course.curriculum.build import ENVIRONMENT
from course.curriculum.contents import NOTEBOOKS, contents
from course.errors import UserError
from course.widgets import Choice, Explorer, LogSlider, Slider, Toggle
from course.widgets.controls import Control

NUM_MOVES = 9
"""Of each control; the first of them are slower, with code that runs for the first time."""

Row = dict[str, Any]


def bench_explorers() -> list[Row]:
    """Measure every explorer of every lesson and print a table; without a Chromium, the kernel's part alone."""
    rows = []
    lessons = [lesson.file for lesson in contents().lessons if lesson.is_ready]
    print("Milliseconds. kernel: processor time to draw and serialise; key to picture: elapsed, in a headless Chromium")
    print(f"{'':<58}{'kernel':^20}{'key to picture':^26}")
    print(f"{'lesson':<24}{'control':<34}{'median':>9}{'slowest':>9}{'fastest':>10}{'median':>8}{'slowest':>9}")
    with contextlib.ExitStack() as stack:
        browser = None
        try:
            browser = stack.enter_context(running_chromium())
            lab = stack.enter_context(running_lab())
        except UserError as missing:
            print(f"({missing})")
        for file in lessons:
            found = kernel_ms(NOTEBOOKS / file)
            if browser is not None:
                with new_page(browser) as (page, _):
                    seen = browser_ms(Notebook(page, lab, f"notebooks/{file}"))
                for row, row_seen in zip(found, seen, strict=True):
                    row |= row_seen
            for row in found:
                row = {"lesson": Path(file).stem} | row
                print(line(row), flush=True)
                rows.append(row)
    return rows


def line(row: Row) -> str:
    """A row of the table."""
    kernel, browser = row["kernel_ms"], row.get("browser_ms")
    text = f"{row['lesson']:<24}{row['control']:<34}{median(kernel):>9.0f}{max(kernel):>9.0f}"
    return text + (f"{min(browser):>10.0f}{median(browser):>8.0f}{max(browser):>9.0f}" if browser else "")


def kernel_ms(file: Path) -> list[Row]:
    """Processor time of each redraw of a lesson's explorers, which are made by running its cells in this process."""
    rows = []
    for explorer in explorers_of(file):
        live = explorer.live()
        for control in explorer.controls:
            times = []
            for value in moves(control):
                began_s = time.process_time()
                live.set(**{control.name: value})
                json.dumps(live.plot.get_state())
                times.append(1e3 * (time.process_time() - began_s))
            rows.append({"control": control.label, "kernel_ms": times})
    return rows


def explorers_of(file: Path) -> list[Explorer]:
    """What a notebook shows as explorers, in order."""
    from IPython.core.interactiveshell import InteractiveShell

    shown: list[Explorer] = []
    shell = InteractiveShell.instance()
    with working_as_a_build(file.parent), collecting(shown), contextlib.redirect_stdout(io.StringIO()):
        for cell in nbformat.read(file, as_version=4).cells:
            if cell.cell_type == "code":
                shell.run_cell(cell.source, store_history=True).raise_error()
    return shown


@contextlib.contextmanager
def collecting(shown: list[Explorer]) -> Iterator[None]:
    """Explorers go into the list instead of on the screen."""
    with unittest.mock.patch.object(Explorer, "_ipython_display_", lambda explorer: shown.append(explorer)):
        yield


@contextlib.contextmanager
def working_as_a_build(folder: Path) -> Iterator[None]:
    """Nothing of the user's own is read or kept."""
    before, environment = Path.cwd(), dict(os.environ)
    os.environ.update(ENVIRONMENT)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)


def moves(control: Control) -> Sequence[Any]:
    """Places to go to one after the other, none twice: what was drawn once may be remembered."""
    places: Sequence[Any]
    match control:
        case Slider(low=low, high=high, step=step):
            places = [type(low)(low + i * step) for i in range(round((high - low) / step) + 1)]
        case LogSlider(values=values):
            places = values
        case Choice(options=options):
            places = options
        case Toggle():
            places = (True, False)
        case _:
            places = ("A list is", "A list is a list of strings", "The second list is a list of names")
    return [place for place in places if place != control.value][:NUM_MOVES]


def browser_ms(notebook: Notebook) -> list[Row]:
    """From the press of a key to the picture, for each control of a lesson's explorers."""
    notebook.run_all()
    return [
        {
            "control": control.label,
            "browser_ms": [ms for _ in range(NUM_MOVES) if (ms := explorer.move(control)) is not None],
        }
        for explorer in notebook.explorers()
        for control in explorer.controls
    ]
