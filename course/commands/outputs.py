"""Files that a command is to write at its end, checked at its beginning."""

from __future__ import annotations

from pathlib import Path

from course.errors import UserError


def check_writable(path: Path | None) -> None:
    """Raise UserError if the file could not be written: better before the run than after it."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} to write {path.name} into; make it first")
