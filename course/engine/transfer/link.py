"""A link that is slower than the real one, so that a laptop can show what 25 Gbit Ethernet does."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf

from course.errors import UserError


@dataclass(slots=True)
class Throttle:
    """Says when a piece would have gone through. Every worker has one port out and one port in.

    ``bandwidth_gb_s`` is in 10^9 bytes per second, None: as fast as it really is; ``latency_us`` comes once with every
    transfer. Raises UserError for a bandwidth that is not positive or a negative latency.
    """

    bandwidth_gb_s: float | None = None
    latency_us: float = 0.0
    _free_s: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        if self.bandwidth_gb_s is not None and not 0 < self.bandwidth_gb_s < inf:
            raise UserError(f"bandwidth_gb_s must be above 0 or None (not throttled), got {self.bandwidth_gb_s}")
        if not 0 <= self.latency_us < inf:
            raise UserError(f"latency_us must be 0 or more, got {self.latency_us}")

    def start_over(self) -> None:
        """All ports are free."""
        self._free_s.clear()

    def starts_s(self, source: int, target: int, now_s: float) -> float:
        """When the ports of both workers are free."""
        if self.bandwidth_gb_s is None:
            return now_s
        return max(now_s, self._free_s["out", source], self._free_s["in", target])

    def take(self, source: int, target: int, num_bytes: int, now_s: float, is_first: bool) -> float:
        """Send a piece now; returns when it has arrived."""
        end_s = now_s
        if self.bandwidth_gb_s is not None:
            end_s += num_bytes / (self.bandwidth_gb_s * 1e9)
            self._free_s["out", source] = self._free_s["in", target] = end_s
        return end_s + (self.latency_us * 1e-6 if is_first else 0.0)
