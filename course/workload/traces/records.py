"""Files of requests as plain records: CSV lines, JSON lines, or a JSON document.

Nothing here knows what the columns mean; it knows where each value stood, so that a mistake can
be reported by file, line and column.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.errors import UserError

MAX_TOKENS = 10**9  # a wrong column or a wrong unit, not a length


@dataclass(frozen=True, slots=True)
class Record:
    """One request as the file states it. ``place`` reads like "trace.csv, line 7"."""

    place: str
    values: dict[str, Any]

    def error(self, column: str, problem: str) -> UserError:
        """Return the error to raise about one value of this record."""
        return UserError(f"{self.place}, column {column}: {problem}")

    def get(self, column: str) -> Any:
        """Return a value; raises UserError when the record does not have it."""
        if column not in self.values:
            raise self.error(column, "is missing; add it or delete the record")
        return self.values[column]

    def tokens(self, column: str) -> int:
        """Return a number of tokens, at least 1 (``"374"``, 374 and 374.0 are all accepted)."""
        number = self.number(column)
        if not number.is_integer():
            raise self.error(column, f"{number} is not a whole number of tokens; correct it")
        if number < 1:
            raise self.error(column, f"{int(number)} tokens; a length must be at least 1, correct or delete it")
        if number > MAX_TOKENS:
            raise self.error(column, f"{number:g} tokens are more than any model takes; correct it")
        return int(number)

    def number(self, column: str) -> float:
        """Return a finite number."""
        value = self.get(column)
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(column, f"{value!r} is not a number; correct it or delete the record")
        return number


def read_text(path: Path) -> str:
    """Return the text of a file; raises UserError when it cannot be read or holds nothing."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name one trace file in it") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not text (byte {error.start} is not UTF-8); unpack or convert it to CSV or JSON"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if not text.strip():
        raise UserError(f"{path}: is empty; give a trace with at least one request")
    return text


def csv_records(path: Path, text: str) -> tuple[list[str], Iterator[Record]]:
    """Return the header of a CSV file and its records, made one at a time; blank lines are skipped.

    Raises:
        UserError: when a line, once its turn has come, has another number of columns than the header.
    """
    lines = _csv_lines(path, text)
    header, _ = next(lines)
    return header, _csv_records(path, header, lines)


def _csv_records(path: Path, header: list[str], lines: Iterator[tuple[list[str], int]]) -> Iterator[Record]:
    file = str(path)  # once: a path is slow to write out
    for cells, number in lines:
        place = f"{file}, line {number}"
        if len(cells) != len(header):
            raise UserError(f"{place}: has {len(cells)} columns where the header has {len(header)}; correct it")
        yield Record(place, dict(zip(header, cells, strict=True)))


def _csv_lines(path: Path, text: str) -> Iterator[tuple[list[str], int]]:
    """Cells of every line that is not blank, and its number in the file."""
    reader = csv.reader(io.StringIO(text))
    try:
        for line in reader:
            cells = [cell.strip() for cell in line]
            if any(cells):
                yield cells, reader.line_num
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not valid CSV ({error}); correct it") from None


def json_lines(path: Path, text: str) -> list[Record]:
    """Return one record for each line of JSON; blank lines are skipped."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    places = [f"{path}, line {number}" for number, _ in lines]
    values = [_parsed(line, path, number) for number, line in lines]
    return _objects(values, places)


def json_records(path: Path, text: str) -> dict[str, Any] | list[Record]:
    """Return a JSON document: an object as it is, a list of objects as records."""
    value = _parsed(text, path, 1)
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        raise UserError(f"{path}: holds one JSON {type(value).__name__}; give a list of requests")
    return _objects(value, [f"{path}, entry {number}" for number in range(1, len(value) + 1)])


def is_json_lines(path: Path, text: str) -> bool:
    """Tell JSON lines from a JSON document, by the suffix or because the first line is complete."""
    if path.suffix in {".jsonl", ".ndjson"}:
        return True
    first, _, rest = text.strip().partition("\n")
    try:
        return isinstance(json.loads(first), dict) and bool(rest.strip())
    except (ValueError, RecursionError):
        return False


def _objects(values: Sequence[Any], places: Sequence[str]) -> list[Record]:
    for place, value in zip(places, values, strict=True):
        if not isinstance(value, dict):
            raise UserError(f"{place}: is not a JSON object; write {{...}} with named lengths")
    return [Record(place, value) for place, value in zip(places, values, strict=True)]


def _parsed(text: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply for a list of requests; check the file") from None
    except json.JSONDecodeError as error:
        line, column = first_line + error.lineno - 1, error.colno
        raise UserError(
            f"{path}, line {line}: broken JSON at character {column} ({error.msg}); correct or delete it"
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{path}: holds a value that cannot be read ({error}); correct it") from None
