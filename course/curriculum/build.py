"""From a lesson's text to its notebook: expanded, executed, checked, written.

Two builds of one text give the same cells, ids and metadata, and on one machine the same outputs.
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from course.curriculum.contents import ROOT
from course.curriculum.notebook import METADATA, notebook_of, text_of
from course.curriculum.sources import Source
from course.curriculum.verify import problems
from course.errors import UserError

CELL_TIMEOUT_S = 120

ENVIRONMENT = {
    "COURSE_WIDGETS": "0",  # static pictures
    "COURSE_SOLUTIONS": "reference",  # what the user has solved is neither shown nor kept
    "OMP_NUM_THREADS": "1",  # the order of additions, and with it the last bits, depends on the number of threads
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class BuildError(UserError):
    """A lesson that does not run to its end; ``traceback`` is what its author wants to see."""

    traceback: str = ""


def execute(notebook: nbformat.NotebookNode, name: str, folder: Path) -> None:
    """Run every cell in ``folder``; raises BuildError naming the lesson and the cell that fails."""
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,  # how printed text is cut into pieces is chance
        extra_arguments=["--log-level=ERROR"],
    )
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    try:
        client.execute(cwd=str(folder), env={**os.environ, **ENVIRONMENT, "PYTHONPATH": python_path})
    except CellExecutionError as error:
        raise _failure(notebook, name, f"{error.ename}: {error.evalue}", str(error)) from None
    except CellTimeoutError:
        raise _failure(notebook, name, f"it runs longer than {CELL_TIMEOUT_S} s") from None
    except DeadKernelError:
        raise _failure(notebook, name, "the kernel died") from None
    notebook.metadata = nbformat.from_dict(METADATA)  # without the exact Python that built it
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = {}


def _failure(notebook: nbformat.NotebookNode, name: str, what: str, traceback: str = "") -> BuildError:
    begun = [i for i, cell in enumerate(notebook.cells) if cell.get("execution_count") or cell.get("outputs")]
    number = begun[-1] if begun else 0
    cell = notebook.cells[number]
    first_line = cell.source.strip().splitlines()[0]
    error = BuildError(f"lesson {name} fails in cell {number + 1} ({cell.id}, `{first_line}`): {what}")
    error.traceback = traceback
    return error


def build(source: Source, folder: Path | None = None, *, solutions: bool = False) -> Path:
    """Make a notebook in ``folder``, or where it belongs, and return the file.

    A lab is handed out without outputs; what is executed, to see that it can be solved, is its solution edition.
    Raises BuildError when a cell fails, or when the result is not fit to be committed; then no file is changed.
    """
    folder = folder or source.lesson.folder
    folder.mkdir(parents=True, exist_ok=True)
    notebook = notebook_of(source, solutions=solutions or source.is_lab)
    execute(notebook, source.name, folder)
    if found := problems(notebook):
        raise BuildError(f"lesson {source.name}: {'; '.join(found)}")
    if source.is_lab and not solutions:
        notebook = notebook_of(source)
    file = folder / source.lesson.file
    file.write_text(text_of(notebook), encoding="utf-8")
    return file
