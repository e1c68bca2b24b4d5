"""Run a notebook again and compare every output with what is printed in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from course.curriculum.build import ENVIRONMENT
from course.curriculum.contents import ROOT

SANITIZE = Path(__file__).with_name("sanitize.cfg")


def run_strictly(file: Path, timeout_s: float = 300) -> int:
    """Strict nbval in a process of its own; returns the number of cells that passed, fails with nbval's report."""
    options = ["-p", "nbval.plugin", "-p", "no:cacheprovider", "--rootdir", str(file.parent)]
    nbval = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=120", "--nbval-sanitize-with", str(SANITIZE)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *nbval, str(file)],
        cwd=file.parent,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    report = done.stdout + done.stderr
    assert done.returncode == 0, f"{file.name} does not print what stands in it (exit {done.returncode}):\n{report}"
    found = re.search(r"(\d+) passed", report)
    assert found, f"nbval ran nothing:\n{report}"
    return int(found[1])
