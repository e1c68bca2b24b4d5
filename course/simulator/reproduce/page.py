"""The register in a page of the documentation, between two marks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from course.errors import UserError
from course.simulator.reproduce.all import Computed, as_markdown, count

BLOCK = re.compile(r"(<!-- register: .*? -->\n).*(<!-- end of register -->)", re.DOTALL)


def with_tables(path: Path, computed: Sequence[Computed]) -> str:
    """The page's text with the tables of today. Raises UserError for a page without the marks."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not BLOCK.search(text):
        raise UserError(f"{path} has no lines <!-- register: ... --> and <!-- end of register -->; add both")
    tables = "\n".join([f"{count(computed).capitalize()}.", "", *as_markdown(computed)])
    return BLOCK.sub(lambda found: f"{found[1]}\n{tables}{found[2]}", text)
