"""What the judge says about one answer."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

Status = Literal["passed", "failed", "not attempted"]


@dataclass(frozen=True)
class Finding:
    """The first thing that was wrong."""

    message: str
    key: tuple[Any, ...]
    """What another answer's finding must share to be the same mistake."""
    call: str = ""
    expected: str = ""
    got: str = ""
    printed: str = ""
    raw: tuple[Any, Any] | None = None
    """Expected and got themselves, for a picture."""


@dataclass(frozen=True)
class Verdict:
    """The judgement on one exercise."""

    id: str
    status: Status
    points: int
    max_points: int
    message: str
    nudge: str = ""
    check: str = ""
    call: str = ""
    expected: str = ""
    got: str = ""
    printed: str = ""
    mistake: str = ""
    num_checks: int = 0
    seed: int = 0
    picture: Any = None

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.status == "passed"

    @property
    def not_attempted(self) -> bool:
        """Whether the stub still stands."""
        return self.status == "not attempted"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: all that is said, without the picture."""
        plain = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "picture"}
        return {"id": self.id, "passed": self.passed} | plain
