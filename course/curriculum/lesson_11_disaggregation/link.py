"""One link between two workers, on the virtual clock: a move takes as long as a function says, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable

from course.simulator.network import Outcome

MoveS = Callable[[int, float], float]
"""From tokens that move, and seconds of the prefill that has just ended (0: sent later), to seconds."""


class OneLink:
    """What a driver asks of a network (`course.simulator.network.Network`), for moves counted in tokens."""

    def __init__(self, move_s: MoveS, latency_s: float = 0.0, *, layerwise: bool = False) -> None:
        self.move_s = move_s
        self.latency_s = latency_s
        self.layerwise = layerwise
        self._free_s = 0.0  # when everything that waits for the link will be sent
        self._arrivals: dict[int, float] = {}
        self.waits_s: list[float] = []  # of each move, for those before it; they arrive in this order

    def start(
        self, transfer_id: int, source: int, target: int, num_tokens: float, now_s: float, *, prefill_s: float = 0.0
    ) -> None:
        """Send when the link is free."""
        begin_s = max(now_s, self._free_s)
        self.waits_s.append(begin_s - now_s)
        self._arrivals[transfer_id] = begin_s + self.move_s(int(num_tokens), prefill_s)
        self._free_s = self._arrivals[transfer_id] - self.latency_s

    def next_event_s(self) -> float:
        """When the next one arrives."""
        return min(self._arrivals.values(), default=math.inf)

    def finish(self, now_s: float) -> list[tuple[int, Outcome]]:
        """Those that have arrived by now."""
        arrived = sorted(number for number, end_s in self._arrivals.items() if end_s <= now_s)
        for number in arrived:
            del self._arrivals[number]
        return [(number, Outcome.DONE) for number in arrived]

    def cancel(self, transfer_id: int, now_s: float) -> bool:
        """Nobody waits for it any more."""
        return self._arrivals.pop(transfer_id, None) is not None
