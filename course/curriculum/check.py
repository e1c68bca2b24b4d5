"""Do the committed notebooks still say what their sources say? Nothing is executed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat

from course.curriculum.notebook import notebook_of
from course.curriculum.sources import Source
from course.curriculum.verify import differences, handout_problems, problems


def stale(sources: Sequence[Source], folder: Path | None = None) -> dict[str, list[str]]:
    """For every lesson whose notebook must be rebuilt, why."""
    reasons = {source.name: reasons_to_rebuild(source, folder) for source in sources}
    return {name: why for name, why in reasons.items() if why}


def reasons_to_rebuild(source: Source, folder: Path | None = None) -> list[str]:
    """Why the notebook of one lesson must be rebuilt; empty if it need not."""
    file = (folder or source.lesson.folder) / source.lesson.file
    if not file.exists():
        return ["it was never built"]
    built = nbformat.read(file, as_version=nbformat.NO_CONVERT)
    return differences(built, notebook_of(source)) or (handout_problems if source.is_lab else problems)(built)
