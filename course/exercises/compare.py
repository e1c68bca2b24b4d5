"""Does an answer equal the expected one? ``None`` if so, else a sentence that says where not.

Kinds must fit (an int is wanted: a float is wrong; an array is wanted: a list is wrong), with these allowances: an int
where a float is expected, a list where a tuple is expected and the reverse, numpy's scalars for Python's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from course.exercises.show import as_numpy, describe, is_array, is_tensor, kind_of, show


@dataclass(frozen=True)
class Tolerance:
    """How far a number may be off: ``rtol`` of the expected one plus ``atol``."""

    rtol: float = 1e-6
    atol: float = 1e-9


NUMBERS = Tolerance()
SINGLE_PRECISION = Tolerance(1e-4, 1e-5)
HALF_PRECISION = Tolerance(2e-2, 2e-2)


class WrongKind(str):
    """A difference that says all there is to say: a list came where a tensor is wanted, or nothing at all."""

    __slots__ = ()


def difference(expected: Any, got: Any, tolerance: Tolerance | None = None, where: str = "") -> str | None:
    """What is different, in a sentence that can stand after "kv_bytes(…) "."""
    if is_array(expected):
        return _array_difference(expected, got, tolerance, where)
    got = got.item() if isinstance(got, np.generic) else got
    expected = expected.item() if isinstance(expected, np.generic) else expected
    if isinstance(expected, (list, tuple)):
        return _sequence_difference(expected, got, tolerance, where)
    if isinstance(expected, dict):
        return _dict_difference(expected, got, tolerance, where)
    if not _same_kind(expected, got):
        return _wrong_kind(expected, got, where)
    if isinstance(expected, float) and _close(expected, got, tolerance or NUMBERS):
        return None
    if not isinstance(expected, float) and expected == got:
        return None
    if where:
        return f"{where} is {show(got)} instead of {show(expected)}"
    return f"gives {show(got)}, not {show(expected)}"


def _same_kind(expected: Any, got: Any) -> bool:
    if isinstance(expected, bool) or isinstance(got, bool):
        return isinstance(expected, bool) and isinstance(got, bool)
    if isinstance(expected, float):
        return isinstance(got, (int, float))
    return type(expected) is type(got)


def _wrong_kind(expected: Any, got: Any, where: str) -> WrongKind:
    if got is None:
        return WrongKind(f"{_at(where)}is None" if where else "returns None: is a `return` missing?")
    remedy = ""
    if isinstance(expected, int) and isinstance(got, float):
        remedy = " (// divides to an int, int(...) cuts)"
    elif isinstance(expected, (int, float)) and is_array(got):
        remedy = " (.item() takes the number out)"
    elif isinstance(expected, (list, tuple)) and getattr(got, "type_name", "") == "generator":
        remedy = " (list(...) collects it; or did you write `yield`?)"
    verb = "is" if where else "returns"
    return WrongKind(f"{_at(where)}{verb} {describe(got)}; {kind_of(expected)} is expected{remedy}")


def _close(expected: float, got: float, tolerance: Tolerance) -> bool:
    try:
        if math.isnan(expected) or math.isnan(got):
            return math.isnan(expected) and math.isnan(got)
        return math.isclose(expected, got, rel_tol=tolerance.rtol, abs_tol=tolerance.atol)
    except OverflowError:  # an int beyond all floats
        return False


def _sequence_difference(expected: Any, got: Any, tolerance: Tolerance | None, where: str) -> str | None:
    if not isinstance(got, (list, tuple)):
        return _wrong_kind(expected, got, where)
    if len(got) != len(expected):
        items = "item" if len(got) == 1 else "items"
        return f"{_at(where) + 'has' if where else 'returns'} {len(got)} {items} instead of {len(expected)}"
    for i, (one, other) in enumerate(zip(expected, got, strict=True)):
        found = difference(one, other, tolerance, f"{where}[{i}]")
        if found:
            return found
    return None


def _dict_difference(expected: dict[Any, Any], got: Any, tolerance: Tolerance | None, where: str) -> str | None:
    if not isinstance(got, dict):
        return _wrong_kind(expected, got, where)
    for key in expected:
        if key not in got:
            return f"{_at(where) or 'the result '}lacks the key {show(key)}"
        found = difference(expected[key], got[key], tolerance, f"{where}[{show(key)}]")
        if found:
            return found
    extra = [key for key in got if key not in expected]
    return f"{_at(where) or 'the result '}has the key {show(extra[0])}, which does not belong there" if extra else None


def _array_difference(expected: Any, got: Any, tolerance: Tolerance | None, where: str) -> str | None:
    if not is_array(got) or is_tensor(got) != is_tensor(expected):
        return _wrong_kind(expected, got, where)
    if tuple(expected.shape) != tuple(got.shape):
        verb = "has" if where else "returns"
        return f"{_at(where)}{verb} shape {tuple(got.shape)} instead of {tuple(expected.shape)}"
    one, other = as_numpy(expected), as_numpy(got)
    if _number_kind(one) != _number_kind(other):
        verb = "holds" if where else "returns"
        return f"{_at(where)}{verb} {_dtype(got)} values; {_dtype(expected)} is expected"
    tolerance = tolerance or _default(expected, got)
    with np.errstate(all="ignore"):
        if one.dtype.kind in "fc":
            wrong = ~np.isclose(other, one, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True)
        else:
            wrong = one != other
    if not wrong.any():
        return None
    place = tuple(int(i[0]) for i in np.nonzero(np.atleast_1d(wrong)))
    first = tuple(int(i) for i in place) if one.ndim else ()
    spot = f"[{', '.join(map(str, first))}]" if first else ""
    count = f" ({int(wrong.sum())} of {wrong.size} values differ)" if wrong.size > 1 else ""
    came, wanted = in_few_digits(other[first], one[first])
    return f"{where}{spot} is {came} instead of {wanted}{count}".strip()


def in_few_digits(one: Any, other: Any) -> tuple[str, str]:
    """Two different numbers of an array, with four significant digits where that tells them apart."""
    if isinstance(one, np.floating) and isinstance(other, np.floating):
        short = tuple(show(float(f"{float(number):.4g}")) for number in (one, other))
        if short[0] != short[1]:
            return short[0], short[1]
    return show(one), show(other)


def _number_kind(array: np.ndarray) -> str:
    return {"u": "i"}.get(array.dtype.kind, array.dtype.kind)


def _dtype(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


def _default(*arrays: Any) -> Tolerance:
    names = " ".join(_dtype(array) for array in arrays)
    if "float16" in names:  # bfloat16 as well
        return HALF_PRECISION
    return SINGLE_PRECISION if "float32" in names else NUMBERS


def _at(where: str) -> str:
    return f"{where} " if where else ""
