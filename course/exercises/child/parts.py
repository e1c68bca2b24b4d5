"""A cell as statements: what of it is the answer."""

from __future__ import annotations
import __future__

import ast

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def parts_of(text: str, name: str, filename: str = "<cell>") -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Up to the definition all statements count; below it definitions and imports, and assignments if they succeed.

    What follows the definition in a notebook cell tries it out on values of other cells; that is no part of the answer.
    """
    strict: list[ast.stmt] = []
    lenient: list[ast.stmt] = []
    found = False
    for node in ast.parse(text, filename).body:
        if isinstance(node, DEFINITIONS):
            node.decorator_list = [mark for mark in node.decorator_list if not is_exercise_mark(mark)]
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course.exercises"):
            continue
        if not found or isinstance(node, (*DEFINITIONS, ast.Import, ast.ImportFrom)):
            strict.append(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            lenient.append(node)
        found = found or getattr(node, "name", None) == name
    return strict, lenient


def is_exercise_mark(mark: ast.expr) -> bool:
    """Whether a decorator is ``@exercise(...)``."""
    called = mark.func if isinstance(mark, ast.Call) else mark
    return getattr(called, "id", getattr(called, "attr", None)) == "exercise"


def future_flags(statements: list[ast.stmt]) -> int:
    """The compiler's flags for the cell's ``from __future__`` imports."""
    names = [
        alias.name
        for node in statements
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    ]
    return __future__.annotations.compiler_flag if "annotations" in names else 0
