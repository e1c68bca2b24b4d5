"""Each way in which a cell can fail without giving an answer, in one sentence."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Elsewhere = Callable[[str], str | None]
"""Says of a name whether other cells of the notebook have it: ``"defined"``, ``"imported"``, or None."""

USUAL_IMPORTS = {
    "np": "import numpy as np",
    "F": "import torch.nn.functional as F",
    "nn": "from torch import nn",
    "Tensor": "from torch import Tensor",
    "deque": "from collections import deque",
    "defaultdict": "from collections import defaultdict",
    "Counter": "from collections import Counter",
    "dataclass": "from dataclasses import dataclass",
    "field": "from dataclasses import field",
    "ceil": "from math import ceil",
    "sqrt": "from math import sqrt",
    "Any": "from typing import Any",
    "Optional": "from typing import Optional",
}


USUAL_MODULES = (
    *("bisect", "collections", "copy", "functools", "heapq", "itertools", "json", "math", "numpy", "operator"),
    *("os", "random", "re", "statistics", "sys", "time", "torch"),
)


def nowhere(name: str) -> str | None:
    """For answers that come without a notebook around them."""
    return None


@dataclass(frozen=True)
class Speaker:
    """Knows the cell, so that a sentence can quote its lines."""

    text: str
    name: str
    is_class: bool
    seconds: float
    memory_mb: int
    elsewhere: Elsewhere = nowhere

    def syntax_error(self) -> str | None:
        """What is wrong with the cell's grammar, if anything."""
        try:
            ast.parse(self.text)
        except SyntaxError as error:
            if self.line(error.lineno).startswith(("%", "!")):
                return f"`{self.line(error.lineno)}` (line {error.lineno}) is notebook magic; give it its own cell."
            return f"Python cannot read the cell: {error.msg}, {self.quote(error.lineno)}."
        except (ValueError, RecursionError, MemoryError):
            return "Python cannot read the cell: it is nested too deeply or holds characters that are no text."
        return None

    def error(self, error: dict[str, Any], call: str) -> str:
        """What an exception in the child means."""
        kind, text, line = str(error.get("type")), str(error.get("text")), error.get("line")
        doing = f"`{call}`" if call and "\n" not in call else "The call" if call else "The cell"
        place = f", {self.quote(line)}" if line else ""
        kinds = error.get("kinds", [])
        if kind == "NameError":
            return self._unknown_name(str(error.get("name")), place)
        if kind in ("NotDefined", "OtherKind"):
            return self._no_definition(kind, text)
        if kind == "TooLarge":
            return f"{doing} returns more data than an answer can hold: {text}."
        if kind == "OutOfTime":
            return f"{doing} did not finish in {self.seconds:g} s{place}. Is there a loop that never ends?"
        if kind == "SystemExit":
            return f"{doing} ends Python (`exit`){place}. A function hands its answer back with `return`."
        raised = self.line(line).startswith("raise ")
        if ("MemoryError" in kinds and not raised) or "not enough memory" in text:
            return f"{doing} asked for more than {self.memory_mb} MB of memory{place}."
        if kind == "RecursionError":
            return f"{doing} calls itself without end{place}."
        if "ImportError" in kinds:
            return self._no_module(text, error, place)
        if kind == "PermissionError" and text.startswith("an exercise may not"):
            return f"The cell tries to {text.removeprefix('an exercise may not ')}{place}. An exercise may not do that."
        if kind == "AttributeError" and not line and self.is_class:
            return f"{doing} failed: {text}."
        return f"{doing} raises {kind}{': ' + text if text else ''}{place}."

    def not_written(self, line: Any) -> str:
        """A ``raise NotImplementedError`` was reached."""
        where = f" (line {line})" if line else ""
        return f"Not attempted yet: `raise NotImplementedError` still stands{where} where your code belongs."

    def late(self, call: str) -> str:
        """Nothing came, and the process had to be killed."""
        doing = f"`{call}`" if call and "\n" not in call else "The cell"
        return f"{doing} did not finish in {self.seconds:g} s and had to be stopped. Does it wait, or loop?"

    def gone(self, call: str) -> str:
        """The process died."""
        doing = f"`{call}`" if call and "\n" not in call else "The cell"
        return f"{doing} ended its Python process without an answer (`os._exit`, or a crash in native code)."

    def quote(self, number: Any) -> str:
        """``line 3: `x = y[2]` ``."""
        return f"line {number}: `{self.line(number)}`"

    def line(self, number: Any) -> str:
        """The text of one of the cell's lines."""
        lines = self.text.splitlines()
        return lines[number - 1].strip() if isinstance(number, int) and 0 < number <= len(lines) else ""

    def _unknown_name(self, name: str, place: str) -> str:
        found = self.elsewhere(name)
        if found == "defined":
            return f"`{name}` is defined in another cell; move it into this one{place}."
        usual = USUAL_IMPORTS.get(name)
        if usual is None and name in USUAL_MODULES:
            usual = f"import {name}"
        if found == "imported" or usual:
            line = f" (`{usual}`)" if usual else ""
            return f"`{name}` is not imported in this cell: add its import at the top{line}{place}."
        return f"`{name}` is not defined{place}. Is it spelled right?"

    def _no_definition(self, kind: str, text: str) -> str:
        wanted = "class" if self.is_class else "function"
        if kind == "NotDefined":
            return f"The cell defines no {wanted} `{self.name}`."
        found = "a class" if text == "type" else "a function" if text == "function" else f"of type {text}"
        return f"`{self.name}` should be a {wanted}; here it is {found}."

    def _no_module(self, text: str, error: dict[str, Any], place: str) -> str:
        name = str(error.get("name") or "").split(".")[0]
        if name.isidentifier() and importlib.util.find_spec(name) is not None:
            return f"`{name}` is not among the modules that this exercise may use{place}."
        return f"An import fails: {text}{place}."
