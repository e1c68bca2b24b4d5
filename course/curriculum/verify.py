"""What a notebook must fulfil to be committed, and whether it still says what its source says."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nbformat

from course.curriculum.cells import IGNORED
from course.curriculum.contents import ROOT

MOST_BYTES = 500_000
WIDGET = "application/vnd.jupyter.widget-view+json"
ADDRESS = re.compile(r"\b0x[0-9a-f]{8,16}\b")


def problems(notebook: nbformat.NotebookNode) -> list[str]:
    """Everything that is wrong with an executed notebook, a sentence each; empty if it is fit to be committed."""
    found = [sentence for cell in notebook.cells if cell.cell_type == "code" for sentence in _cell_problems(cell)]
    if "widgets" in notebook.metadata:
        found.append("widget state is stored in the notebook; build with COURSE_WIDGETS=0")
    if (size := len(nbformat.writes(notebook).encode())) > MOST_BYTES:
        found.append(f"it has {size:,} bytes; at most {MOST_BYTES:,} are allowed")
    if (ids := [cell.get("id") for cell in notebook.cells]) and len(set(ids)) < len(ids):
        found.append("two cells have the same id")
    return found + list(_silent_measurements(notebook))


def handout_problems(notebook: nbformat.NotebookNode) -> list[str]:
    """The same for a lab, which is handed out as nobody has run it."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [f"cell {cell.get('id')} was executed" for cell in code if cell.execution_count or cell.outputs]


def _cell_problems(cell: nbformat.NotebookNode) -> Iterator[str]:
    name = f"cell {cell.get('id')}"
    if cell.execution_count is None:
        yield f"{name} was never executed"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"{name} raises {output.ename}: {output.evalue}"
        elif output.output_type == "stream" and output.name == "stderr":
            yield f"{name} writes to stderr: {output.text.strip()[:80]!r}"
        elif WIDGET in output.get("data", {}):
            yield f"{name} shows a live widget; build with COURSE_WIDGETS=0"
        text = _text(output)
        if place := next((place for place in private_places() if place in text), None):
            yield f"{name} prints a path of this machine, {place!r}"
        tags = cell.metadata.get("tags", [])
        if IGNORED not in tags and (address := ADDRESS.search(text)):
            yield f"{name} prints a memory address, {address[0]}, which differs at every run"


def _text(output: Any) -> str:
    """All that an output says, as JSON."""
    return json.dumps(output.get("data", output.get("text", "")), ensure_ascii=False)


def private_places() -> list[str]:
    """Paths that belong to this machine and its user."""
    user = getpass.getuser()
    places = [str(ROOT), str(Path.home()), f"/home/{user}", f"/Users/{user}", "/tmp/ipykernel_"]
    return [place for place in places if len(place) > 1]


def _silent_measurements(notebook: nbformat.NotebookNode) -> Iterator[str]:
    """Where nbval does not look at the output, an assert must, in that cell or the next."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, after in zip_longest(code, code[1:]):
        if IGNORED in cell.metadata.get("tags", []):
            texts = cell.source + "\n" + (after.source if after else "")
            if not re.search(r"^\s*assert\b", texts, re.MULTILINE):
                yield f"cell {cell.id} is marked {IGNORED}, but neither it nor the next one asserts anything"


def differences(built: nbformat.NotebookNode, wanted: nbformat.NotebookNode) -> list[str]:
    """Where a notebook differs from what its source would give, outputs aside."""
    found = []
    if built.metadata != wanted.metadata:
        found.append("its metadata differ")
    for number, (cell, other) in enumerate(zip_longest(built.cells, wanted.cells), 1):
        if cell is None or other is None:
            found.append(f"it has {len(built.cells)} cells, its source gives {len(wanted.cells)}")
            break
        for part in ("cell_type", "id", "source", "metadata"):
            if cell.get(part) != other.get(part):
                found.append(f"cell {number} ({other.id}) has another {part.replace('cell_', '')}")
                break
    return found
