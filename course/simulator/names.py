"""One sentence for a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(kind: str, name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Says which known name is nearest, all names, and what else may be given."""
    names = list(known)
    given = name.lower()
    beginnings = [each for each in names if given and (each.startswith(given) or given.startswith(each))]
    near = beginnings[:1] or get_close_matches(given, names, n=1, cutoff=0.0)
    rest = [each for each in names if each not in near]
    sentence = f"unknown {kind} {name!r}: the nearest is {', '.join(repr(each) for each in near)}"
    if rest:
        sentence += f"; known are also {', '.join(rest)}"
    return f"{sentence}; {otherwise}" if otherwise else sentence
