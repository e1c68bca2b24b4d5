"""Policies by name, with their parameters, as a command line or an experiment gives them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from course.errors import UserError


def make(kind: str, table: Mapping[str, type], name: str, parameters: Mapping[str, Any]) -> Any:
    """``table[name](**parameters)``. Raises UserError for an unknown name or parameter, naming what is known."""
    if name not in table:
        raise UserError(f"unknown {kind} {name!r}: {_hint(name, list(table))}")
    known = list(inspect.signature(table[name]).parameters)
    for parameter in parameters:
        if not known:
            raise UserError(f"{kind} {name!r} has no parameters, so {parameter!r} cannot be set")
        if parameter not in known:
            raise UserError(f"{kind} {name!r} has no parameter {parameter!r}; it has {', '.join(known)}")
    return table[name](**parameters)


def _hint(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
