"""The lab under nbval, as a student runs it: red exactly where an exercise does not pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat

from course.curriculum.build import ENVIRONMENT
from course.curriculum.contents import ROOT
from tests.labs.helpers import CHECKS, LAB, save, solved


def red_cells(folder: Path, report: Path) -> set[str]:
    """The ids of the code cells that fail under ``pytest --nbval-lax FOLDER``."""
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", *nbval, str(folder), f"--junitxml={report}"],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    cells = [cell for cell in nbformat.read(folder / LAB.file, as_version=4).cells if cell.cell_type == "code"]
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    assert len(cases) == len(cells), done.stdout + done.stderr
    red = {cell.id for cell, case in zip(cells, cases, strict=True) if case.find("failure") is not None}
    assert done.returncode == (1 if red else 0), done.stdout + done.stderr
    return red


def test_unsolved_it_is_red_exactly_at_the_checks(tmp_path: Path) -> None:
    assert red_cells(LAB.folder, tmp_path / "report.xml") == CHECKS


def test_solved_it_is_green(tmp_path: Path) -> None:
    save(solved(), tmp_path / LAB.name / LAB.file)
    assert red_cells(tmp_path / LAB.name, tmp_path / "report.xml") == set()
