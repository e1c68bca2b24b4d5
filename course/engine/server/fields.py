"""A client's JSON, read field by field: what is missing, of the wrong type or out of range is said in one sentence."""

from __future__ import annotations

import json
import math
from typing import Any

from course.engine.server.errors import RequestError


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds; raises RequestError for anything else."""
    try:
        found = json.loads(body)
    except UnicodeDecodeError:
        raise RequestError("the body is not UTF-8; send JSON in UTF-8") from None
    except RecursionError:
        raise RequestError("the body is JSON nested too deeply; send a plain object") from None
    except ValueError as error:
        raise RequestError(f"the body is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise RequestError(f"the body must be a JSON object, not {kind_of(found)}")
    return found


class Fields:
    """The fields of one JSON object. One that is null counts as left out. Every reader raises RequestError."""

    def __init__(self, values: dict[str, Any], within: str = "") -> None:
        self._values = values
        self._within = within

    def get(self, name: str) -> Any:
        """The value as it came, None where it was left out."""
        return self._values.get(name)

    def wrong(self, name: str, must: str) -> RequestError:
        """The error for a field that is not what it must be."""
        value = self._values.get(name)
        shown = repr(value) if isinstance(value, int | float) else kind_of(value)
        return RequestError(f"{self._within}{name} must be {must}, got {shown}", param=f"{self._within}{name}")

    def boolean(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def integer(self, name: str, default: int | None, low: int, high: int | None = None) -> int | None:
        """A whole number from ``low`` to ``high``."""
        value = self.get(name)
        if value is None:
            return default
        span = f"a whole number from {low} " + ("on" if high is None else f"to {high}")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            raise self.wrong(name, span)
        return value

    def number(self, name: str, default: float, low: float, high: float, *, above: bool = False) -> float:
        """A number from ``low`` (or ``above`` it) to ``high``."""
        value = self.get(name)
        if value is None:
            return default
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not low <= value <= high or (above and value == low):
            raise self.wrong(
                name, f"a number {'above' if above else 'from'} {low} {'and up ' if above else ''}to {high}"
            )
        return float(value)

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """A text or a list of at most ``most`` texts, none of them empty."""
        value = self.get(name)
        if value is None:
            return ()
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
            raise self.wrong(name, "a text or a list of texts, none of them empty")
        if len(texts) > most:
            raise RequestError(f"{name} may hold at most {most} texts, got {len(texts)}", param=name)
        return tuple(check_text(text, name) for text in texts)


def check_text(text: str, name: str) -> str:
    """The text, if it can be written in UTF-8: JSON can escape halves of letters that are none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError(f"{name} holds half a surrogate pair, which is no text", param=name) from None
    return text


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "a text" if value else "an empty text"
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "an object"
        case _:
            return "a number"
