"""Surgery on source text: what stays for the learner, what a planted mistake changes."""

from __future__ import annotations

import ast
import re
import textwrap

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

TO_DO = "raise NotImplementedError"
SOLUTION = ("### BEGIN SOLUTION", "### END SOLUTION")
"""nbgrader clears what stands between them."""

BEGIN = re.compile(r"^\s*# yours(?P<hint>:.*)?$")
END = re.compile(r"^\s*# end$")


def definition_of(text: str, name: str) -> Definition | None:
    """The last top-level function or class of that name."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [node for node in body if isinstance(node, Definition) and node.name == name]
    return found[-1] if found else None


def bare(text: str) -> str:
    """A definition without its decorators and its indentation."""
    text = textwrap.dedent(text)
    node = ast.parse(text).body[0]
    assert isinstance(node, Definition)
    return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]) + "\n"


def stub_of(reference: str) -> str:
    """What the learner sees of a reference: signature and docstring, and what lies outside of ``# yours`` … ``# end``.

    Without such marks the whole body is theirs; of a class, the body of each method.
    """
    lines = reference.splitlines()
    if any(BEGIN.match(line) for line in lines):
        return _without_marked(lines)
    for function in reversed(_functions(reference)):
        start, end = _body_after_docstring(function)
        lines[start:end] = [" " * function.col_offset + "    " + TO_DO]
    return "\n".join(lines) + "\n"


def solution_of(reference: str) -> str:
    """The reference as a solution edition shows it: without the marks."""
    kept = [line for line in reference.splitlines() if not BEGIN.match(line) and not END.match(line)]
    return "\n".join(kept) + "\n"


def solved(stub: str, reference: str) -> str:
    """A lab's stub with the reference's bodies in place of what is to be done, marked as nbgrader marks solutions."""
    lines, answer = stub.splitlines(), reference.splitlines()
    bodies = {function.name: slice(*_body_after_docstring(function)) for function in _functions(reference)}
    for function in reversed(_functions(stub)):
        start, end = _body_after_docstring(function)
        begin, close = (" " * function.col_offset + "    " + mark for mark in SOLUTION)
        lines[start:end] = [begin, *answer[bodies[function.name]], close]
    return "\n".join(lines) + "\n"


def edited(reference: str, changes: tuple[tuple[str, str], ...]) -> str:
    """The reference with pieces of its text exchanged; every piece must stand there exactly once."""
    for old, new in changes:
        if reference.count(old) != 1:
            raise ValueError(f"a mistake replaces {old!r}, which stands {reference.count(old)} times in the reference")
        reference = reference.replace(old, new)
    return reference


def same_code(one: str, other: str, name: str) -> bool:
    """Whether both texts define the name alike, whatever their comments, docstrings and spacing."""
    first, second = definition_of(one, name), definition_of(other, name)
    if first is None or second is None:
        return False
    try:
        return _shape(first) == _shape(second)
    except (RecursionError, MemoryError):
        return False


def _shape(node: Definition) -> str:
    for part in ast.walk(node):
        if isinstance(part, Definition):
            part.decorator_list = []
            if ast.get_docstring(part, clean=False) is not None:
                part.body = part.body[1:]
    return ast.dump(node)


def _functions(text: str) -> list[ast.FunctionDef]:
    """The function that a text defines, or the methods of the class."""
    node = ast.parse(text).body[0]
    assert isinstance(node, Definition)
    functions = node.body if isinstance(node, ast.ClassDef) else [node]
    return [part for part in functions if isinstance(part, ast.FunctionDef)]


def _body_after_docstring(function: ast.FunctionDef) -> tuple[int, int]:
    """The lines (from, to) of a function's body, its docstring left out; counted from 0."""
    first, last = function.body[0], function.body[-1]
    start = first.lineno - 1
    if ast.get_docstring(function, clean=False) is not None:
        start = first.end_lineno or start
    return start, last.end_lineno or start


def _without_marked(lines: list[str]) -> str:
    """Each marked region becomes one comment and ``raise NotImplementedError``."""
    kept, inside = [], False
    for line in lines:
        begin = BEGIN.match(line)
        if begin:
            indent = line[: len(line) - len(line.lstrip())]
            kept += [f"{indent}# Your code{begin['hint'] or ''}", indent + TO_DO]
            inside = True
        elif END.match(line):
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept) + "\n"
