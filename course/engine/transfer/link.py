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

    @property
    def latency_s(self) -> float:
        """From the last byte that is sent until it has arrived."""
        return self.latency_us * 1e-6

    def starts_s(self, source: int, target: int, ready_s: float) -> float:
        """When a piece that is ready at ``ready_s`` may start: the ports of both workers must be free."""
        if self.bandwidth_gb_s is None:
            return ready_s
        return max(ready_s, self._free_s["out", source], self._free_s["in", target])

    def take(self, source: int, target: int, num_bytes: int, start_s: float) -> float:
        """Send a piece from ``start_s`` on; returns when its last byte is sent, and the ports are free again."""
        if self.bandwidth_gb_s is None:
            return start_s
        end_s = start_s + num_bytes / (self.bandwidth_gb_s * 1e9)
        self._free_s["out", source] = self._free_s["in", target] = end_s
        return end_s
