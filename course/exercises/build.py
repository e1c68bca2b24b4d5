"""Makes an object of an exercise's text in this process: the course's own reference, or a learner's passing answer."""

from __future__ import annotations

import ast
import linecache
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from course.exercises.child.parts import future_flags, parts_of

if TYPE_CHECKING:
    from course.exercises.definition import Exercise


def build(exercise: Exercise, text: str, beneath: Callable[[Exercise], Any]) -> Any:
    """The function or class that the text defines, with the names that the exercise grants and those it builds on."""
    module = types.ModuleType(f"solution_{exercise.name}")
    for source in exercise.grants:
        exec(source, module.__dict__)
    for below in exercise.builds_on:
        setattr(module, below.name, beneath(below))
    sys.modules[module.__name__] = module  # dataclasses look there
    strict, _ = parts_of(text, exercise.name)
    filename = f"<{exercise.id}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(ast.Module(strict, []), filename, "exec", future_flags(strict), dont_inherit=True), module.__dict__)
    return getattr(module, exercise.name)
