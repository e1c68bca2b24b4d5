"""What a reproduction is: a published number beside ours, with the tolerance that was set for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Verdict(StrEnum):
    """Whether ours lies within the tolerance of theirs; ``SKIPPED`` for what needs data that is not there."""

    REPRODUCED = "reproduced"
    MISSED = "missed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the register. ``theirs`` and ``ours`` are text, the numbers behind them stand beside it.

    ``note`` gives the suspected reason of a miss, or what else a reader must know.
    """

    what: str
    theirs: str
    ours: str
    tolerance: str
    verdict: Verdict
    note: str = ""
    their_value: float | None = None
    our_value: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One experiment of a paper. ``rows`` runs it; its argument is the folder with the user's copies of public data."""

    name: str
    paper: str
    place: str
    setting: str
    rows: Callable[[Path], list[Row]]


def number(
    what: str,
    theirs: float,
    ours: float,
    *,
    unit: str = "",
    percent: float | None = None,
    within: float | None = None,
    digits: int = 3,
    note: str = "",
) -> Row:
    """A row that compares numbers: ours may be ``percent`` of theirs away, or ``within`` (in their unit)."""
    allowed = abs(theirs) * percent / 100 if percent is not None else (within or 0.0)
    good = math.isfinite(ours) and abs(ours - theirs) <= allowed * (1 + 1e-9)
    tolerance = f"±{percent:g} %" if percent is not None else f"±{_say(allowed, 2, 'points' if unit == '%' else unit)}"
    return Row(
        what=what,
        theirs=_say(theirs, digits, unit),
        ours=_say(ours, digits, unit),
        tolerance=tolerance,
        verdict=Verdict.REPRODUCED if good else Verdict.MISSED,
        note=note,
        their_value=theirs,
        our_value=ours,
    )


def claim(what: str, theirs: str, ours: str, holds: bool, *, tolerance: str = "order", note: str = "") -> Row:
    """A row about a shape: who wins, what comes before what."""
    verdict = Verdict.REPRODUCED if holds else Verdict.MISSED
    return Row(what=what, theirs=theirs, ours=ours, tolerance=tolerance, verdict=verdict, note=note)


def skipped(what: str, theirs: str, why: str) -> Row:
    """A row that cannot be computed here, and what it would take."""
    return Row(what=what, theirs=theirs, ours="-", tolerance="-", verdict=Verdict.SKIPPED, note=why)


def find_file(data: Path, *names: str) -> Path | None:
    """The first of these files that lies in the folder or in one of its folders."""
    places = (place for name in names for place in (data / name, *sorted(data.glob(f"*/{name}"))))
    return next((place for place in places if place.is_file()), None)


def as_json(entry: Entry, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain data."""
    return [
        {
            "name": entry.name,
            "paper": entry.paper,
            "place": entry.place,
            "setting": entry.setting,
            "what": row.what,
            "theirs": row.theirs,
            "ours": row.ours,
            "their_value": row.their_value,
            "our_value": row.our_value,
            "tolerance": row.tolerance,
            "verdict": str(row.verdict),
            "note": row.note,
        }
        for row in rows
    ]


def _say(value: float, digits: int, unit: str) -> str:
    """A number with up to so many significant digits, all of its whole ones, and its unit."""
    if math.isfinite(value):
        digits = max(digits, len(str(int(abs(value)))))
    return f"{value:.{digits}g} {unit}".rstrip()
