"""The register: all entries, found by name, computed, and said as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from textwrap import wrap

from course.errors import UserError
from course.simulator.reproduce import distserve, mooncake, orca, queueing, sarathi, splitwise, taichi
from course.simulator.reproduce.register import Entry, Row, Verdict

REGISTER: tuple[Entry, ...] = (
    *queueing.ENTRIES,
    *distserve.ENTRIES,
    *taichi.ENTRIES,
    *sarathi.ENTRIES,
    *splitwise.ENTRIES,
    *orca.ENTRIES,
    *mooncake.ENTRIES,
)

Computed = tuple[Entry, list[Row]]


def entries_named(name: str | None) -> list[Entry]:
    """All entries, the one of that name, or those whose names begin with it: "distserve".

    Raises:
        UserError: for a name that fits none, naming the nearest.
    """
    if name is None:
        return list(REGISTER)
    if found := [entry for entry in REGISTER if entry.name == name] or [e for e in REGISTER if e.name.startswith(name)]:
        return found
    names = [entry.name for entry in REGISTER]
    near = get_close_matches(name, names, n=1, cutoff=0.0)[0]
    raise UserError(f"the register has no {name!r}; the nearest is {near!r} (all are: {', '.join(names)})")


def compute(entries: Iterable[Entry], data: Path) -> Iterator[Computed]:
    """Run the entries, one after the other. ``data`` holds the user's copies of public data."""
    for entry in entries:
        yield entry, entry.rows(data)


def as_text(computed: Iterable[Computed]) -> Iterator[str]:
    """One block of lines for each entry."""
    for entry, rows in computed:
        yield f"{entry.name}: {entry.paper}, {entry.place}"
        yield from wrap(entry.setting, 118, initial_indent="  ", subsequent_indent="  ")
        for row in rows:
            yield f"  {row.what:<58}{row.theirs:>22}{row.ours:>22}{row.tolerance:>13}  {row.verdict}"
            if row.note:
                yield from wrap(row.note, 118, initial_indent="      ", subsequent_indent="      ")
        yield ""


def as_markdown(computed: Iterable[Computed]) -> Iterator[str]:
    """One table for each entry; notes stand below it, numbered."""
    for entry, rows in computed:
        notes: list[str] = []
        yield f"### {entry.name}"
        yield ""
        yield f"{entry.paper}, {entry.place}. {entry.setting[0].upper()}{entry.setting[1:]}."
        yield ""
        yield "| | theirs | ours | tolerance | verdict |"
        yield "|:--|--:|--:|--:|:--|"
        for row in rows:
            mark = ""
            if row.note:
                if row.note not in notes:
                    notes.append(row.note)
                mark = f" ({notes.index(row.note) + 1})"
            yield f"| {row.what} | {row.theirs} | {row.ours} | {row.tolerance} | {row.verdict}{mark} |"
        yield ""
        for number, note in enumerate(notes, 1):
            yield f"({number}) {note[0].upper()}{note[1:]}."
            yield ""


def count(computed: Iterable[Computed]) -> str:
    """How many rows have which verdict."""
    counts = Counter(row.verdict for _, rows in computed for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
