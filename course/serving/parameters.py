"""Policies by name, with their parameters, as a command line or an experiment gives them, and checks of these."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from course.errors import UserError


def make(kind: str, table: Mapping[str, type], name: str, parameters: Mapping[str, Any]) -> Any:
    """``table[name](**parameters)``. Raises UserError for what is unknown, naming what is known, or missing."""
    if name not in table:
        raise UserError(f"unknown {kind} {name!r}: {_hint(name, list(table))}")
    signature = inspect.signature(table[name]).parameters
    known = list(signature)
    for parameter in parameters:
        if not known:
            raise UserError(f"{kind} {name!r} has no parameters, so {parameter!r} cannot be set")
        if parameter not in known:
            raise UserError(f"{kind} {name!r} has no parameter {parameter!r}; it has {', '.join(known)}")
    needed = [key for key, value in signature.items() if value.default is value.empty and key not in parameters]
    if needed:
        raise UserError(f"{kind} {name!r} needs {', '.join(needed)}")
    return table[name](**parameters)


def _hint(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def check_positive(**parameters: Any) -> None:
    """Raise UserError naming the parameter unless all are whole numbers, at least 1."""
    for name, value in parameters.items():
        if not isinstance(value, Integral) or value < 1:
            raise UserError(f"{name} must be a whole number, at least 1, got {value!r}")


def check_limits(**parameters: Any) -> None:
    """`check_positive` for parameters that may also be None, for no limit."""
    check_positive(**{name: value for name, value in parameters.items() if value is not None})


def check_not_negative(**parameters: Any) -> None:
    """Raise UserError naming the parameter unless all are numbers, at least 0."""
    for name, value in parameters.items():
        if not isinstance(value, Real) or not float(value) >= 0:
            raise UserError(f"{name} must be a number, at least 0, got {value!r}")


def check_share(**parameters: Any) -> None:
    """Raise UserError naming the parameter unless all are shares of something, from 0 to below 1."""
    for name, value in parameters.items():
        if not isinstance(value, Real) or not 0 <= float(value) < 1:
            raise UserError(f"{name} must be a share, from 0 to below 1, got {value!r}")
