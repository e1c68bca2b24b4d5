"""Values in few characters, for sentences and feedback."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np

LONGEST = 160


def show(value: Any, longest: int = LONGEST) -> str:
    """A value as a learner would type it, cut where it gets long."""
    text = _text(value)
    if "\n" not in text and len(text) > longest:
        text = text[: longest - 2] + " …"
    return text


def describe(value: Any) -> str:
    """A value with its kind, as in: ``the float 3.0``, ``None``, ``a tensor of shape (2, 3)``."""
    if value is None or isinstance(value, bool):
        return str(value)
    if is_array(value):
        return f"{kind_of(value)} of shape {tuple(value.shape)}"
    if isinstance(value, (int, float)):
        return f"the {kind_of(value).split()[1]} {show(value)}"
    return f"{kind_of(value)}, {show(value)}" if isinstance(value, (str, list, tuple, dict, set)) else kind_of(value)


def many(number: int, thing: str) -> str:
    """``1 check``, ``2 checks``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def kind_of(value: Any) -> str:
    """The kind of a value with its article: ``an int``, ``a tensor``."""
    if value is None:
        return "None"
    name = getattr(value, "type_name", None) or _family(value)
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array(value: Any) -> bool:
    """Whether it is a numpy array or a torch tensor."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def as_numpy(value: Any) -> np.ndarray:
    """An array or tensor as a numpy array (bfloat16 widened: numpy has none)."""
    if is_tensor(value):
        value = value.detach().cpu()
        return np.asarray(value.float().numpy() if "bfloat16" in str(value.dtype) else value.numpy())
    return np.asarray(value)


def call_text(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...] = ()) -> str:
    """A call, with the names of its parameters where there are several."""
    named = names if len(args) > 1 else ()
    parts = [f"{named[i]}={show(arg, 60)}" if i < len(named) else show(arg, 60) for i, arg in enumerate(args)]
    parts += [f"{key}={show(value, 60)}" for key, value in kwargs.items()]
    one_line = f"{name}({', '.join(parts)})"
    if len(one_line) <= 110 and "\n" not in one_line:
        return one_line
    inner = ",\n".join(parts).replace("\n", "\n    ")
    return f"{name}(\n    {inner},\n)"


def _family(value: Any) -> str:
    if is_tensor(value):
        return "tensor"
    if isinstance(value, np.ndarray):
        return "numpy array"
    if isinstance(value, np.generic):
        return _family(value.item())
    return type(value).__name__


def _text(value: Any) -> str:
    if is_array(value):
        array = as_numpy(value)
        edges = 3 if array.ndim < 3 else 1
        shown = np.array2string(array, precision=4, threshold=40, edgeitems=edges, separator=", ", suppress_small=True)
        shown = re.sub(r"\n{2,}", "\n", shown)  # numpy sets matrices apart by empty lines
        if array.ndim == 0:
            return f"{_family(value)}({shown})"
        narrow = " in 16 bits" if value.dtype.itemsize == 2 and array.dtype.kind == "f" else ""
        return f"{_family(value)} of shape {tuple(array.shape)}{narrow}: {shown}"
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)):
        return repr(float(f"{float(value):.10g}"))
    if isinstance(value, (int, np.integer)):
        return str(int(value)) if int(value).bit_length() < 1000 else "a huge int"
    if isinstance(value, list):
        return f"[{_many(value)}]"
    if isinstance(value, tuple):
        return f"({_many(value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        items = [f"{_text(key)}: {_text(item)}" for key, item in list(value.items())[:20]]
        return "{" + (",\n " if any("\n" in item for item in items) else ", ").join(items) + "}"
    return repr(value)


def _many(values: list[Any] | tuple[Any, ...]) -> str:
    texts = [_text(value) for value in values[:24]]
    shown = (",\n " if any("\n" in text for text in texts) else ", ").join(texts)
    return shown + (f", … {len(values) - 24} more" if len(values) > 24 else "")
