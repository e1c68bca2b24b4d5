"""Transfers that come to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from course.errors import UserError
from course.workload.hashing import mix


class Outcome(Enum):
    """How a transfer ended."""

    DONE = "done"
    REFUSED = "refused"  # the receiver would not take it; nothing was sent
    FAILED = "failed"  # it broke on the way


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of transfers that are refused and that fail, drawn from ``seed`` and the transfer's number alone.

    Raises:
        UserError: unless both are shares whose sum is below 1 (at 1 nothing would ever arrive).
    """

    refused: float = 0.0
    failed: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.refused >= 0 and self.failed >= 0 and self.refused + self.failed < 1):
            raise UserError(
                f"refused and failed are shares of the transfers, together below 1; got {self.refused} and "
                f"{self.failed}"
            )

    def of(self, transfer_id: int) -> tuple[Outcome, float]:
        """How that transfer will end, and after what share of its bytes."""
        drawn = mix(mix(self.seed) ^ transfer_id)
        share = drawn / 2**64
        if share < self.refused:
            return Outcome.REFUSED, 0.0
        if share < self.refused + self.failed:
            return Outcome.FAILED, mix(drawn) / 2**64
        return Outcome.DONE, 1.0
