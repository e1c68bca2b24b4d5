"""Files that a command is to write at its end, checked at its beginning."""

from __future__ import annotations

from pathlib import Path

from course.errors import UserError


def check_writable(*paths: Path | None) -> None:
    """Raise UserError if one of the files could not be written: better before the run than after it."""
    given = [path for path in paths if path is not None]
    for number, path in enumerate(given):
        if path.is_dir():
            raise UserError(f"{path} is a folder; name a file")
        if not path.parent.is_dir():
            raise UserError(f"there is no folder {path.parent} to write {path.name} into; make it first")
        if path.resolve() in [other.resolve() for other in given[:number]]:
            raise UserError(f"two outputs would be written to {path}; name a file for each")
