"""A recorded profile: which steps were run, how long they took, on what. The file of ``python -m course profile``.

JSON with these keys: ``format`` (1), ``recorded`` (date and time), ``conditions`` (processor, versions, threads: what a
reader needs to judge the numbers), ``model`` (the fields of ModelShape), ``machine`` (memory_bytes, flops_s,
memory_bandwidth_bytes_s, measured) and ``steps``, a list of {prompts: [[cached, computed], ...], contexts: [cached,
...], seconds: [one per round]}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from course.errors import UserError
from course.simulator.hardware import Hardware
from course.simulator.shapes import ModelShape

FORMAT = 1
SHIPPED = Path(__file__).with_name("tiny-2-core.json")
"""The tiny model on a quiet machine of two cores: what "measured" means until COURSE_PROFILE names another."""


@dataclass(frozen=True, slots=True)
class ProfiledStep:
    """A step that was run: prompts as (tokens in the cache, tokens computed), cached tokens of each decode."""

    prompts: tuple[tuple[int, int], ...]
    contexts: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def kind(self) -> str:
        """What kind of step it is: "prompts", "decodes" or "both"."""
        return "both" if self.prompts and self.contexts else "prompts" if self.prompts else "decodes"

    @property
    def median_s(self) -> float:
        """The typical time: slow outliers have been in the way of the measurement, not a part of the step."""
        return median(self.seconds)


@dataclass(frozen=True, slots=True)
class Profile:
    """Steps of one model on one machine, and the conditions of the recording."""

    model: ModelShape
    machine: Hardware
    steps: tuple[ProfiledStep, ...]
    recorded: str = ""
    conditions: dict[str, Any] | None = None

    def save(self, path: Path) -> None:
        """Write it, one step a line."""
        table = {
            "format": FORMAT,
            "recorded": self.recorded,
            "conditions": self.conditions or {},
            "model": _figures(self.model),
            "machine": _figures(self.machine),
        }
        lines = [f'  "{key}": {json.dumps(value)}' for key, value in table.items()]
        steps = [
            json.dumps({"prompts": s.prompts, "contexts": s.contexts, "seconds": [round(t, 7) for t in s.seconds]})
            for s in self.steps
        ]
        lines.append('  "steps": [\n    ' + ",\n    ".join(steps) + "\n  ]")
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def load_profile(path: str | Path) -> Profile:
    """Read a profile. Raises UserError for a file that is missing or is none."""
    try:
        return _read(path, Path(path).stat().st_mtime_ns)
    except OSError:
        raise UserError(f"there is no profile {path}; python -m course profile --out {path} records one") from None


@lru_cache(maxsize=8)
def _read(path: str | Path, changed_ns: int) -> Profile:
    """An experiment asks for the same profile several times, and an explorer runs an experiment for every move."""
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
        if table["format"] != FORMAT:
            raise UserError(f"{path} has the profile format {table['format']}, not {FORMAT}; record it again")
        return Profile(
            ModelShape(**table["model"]),
            Hardware(**table["machine"]),
            tuple(_steps(table["steps"])),
            table["recorded"],
            table["conditions"],
        )
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} is not a profile; python -m course profile --out FILE records one") from None


def profile_named(name: str) -> Profile:
    """The profile behind a name in an experiment: a file, or "measured" or "this-machine" for that of $COURSE_PROFILE.

    Where that is not set, they mean the profile that ships with the course. Raises UserError as `load_profile` does.
    """
    return load_profile(name if name.endswith(".json") else os.environ.get("COURSE_PROFILE") or SHIPPED)


def _steps(rows: list[dict[str, Any]]) -> Iterator[ProfiledStep]:
    for row in rows:
        prompts = tuple((int(start), int(num_tokens)) for start, num_tokens in row["prompts"])
        yield ProfiledStep(prompts, tuple(map(int, row["contexts"])), tuple(map(float, row["seconds"])))


def _figures(described: ModelShape | Hardware) -> dict[str, Any]:
    return {field.name: getattr(described, field.name) for field in fields(described)}
