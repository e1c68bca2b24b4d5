"""Transfers in time: they start, share links with others, end.

A fluid model: bytes flow at rates that change only when a transfer starts or leaves. Nothing here depends on when it
is asked, so a run whose driver looks in at every step and one that skips thousands of steps agree to the bit.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from course.errors import UserError
from course.simulator.network.fabric import Fabric, Port
from course.simulator.network.faults import Faults, Outcome
from course.simulator.network.layerwise import LayerWise, Visible
from course.simulator.network.sharing import max_min_rates


class Ended(NamedTuple):
    """A transfer has come to its end."""

    transfer_id: int
    outcome: Outcome


class PortUse(NamedTuple):
    """What passed a port: all bytes, early layers and broken transfers included, and how long it was in use."""

    name: str
    bandwidth_bytes_s: float
    num_bytes: float
    busy_s: float


@dataclass(slots=True, eq=False)
class _Port:
    """A port with what passes it."""

    about: Port
    flows: dict[int, _Flow] = field(default_factory=dict)
    num_bytes: float = 0.0
    busy_s: float = 0.0
    busy_since_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Way:
    """The ports between two instances, and what a transfer alone on them gets."""

    ports: tuple[_Port, _Port]
    latency_s: float
    bandwidth_bytes_s: float


@dataclass(slots=True, eq=False)
class _Flow:
    """A transfer that occupies its ports: from ``since_s`` on, ``left_bytes`` are being sent at ``rate``."""

    id: int
    ports: tuple[_Port, _Port]
    extra_s: float  # from the last byte sent to the end reported
    num_bytes: float
    left_bytes: float
    since_s: float
    outcome: Outcome
    rate: float = 0.0
    sent_s: float = math.inf

    def left_at(self, now_s: float) -> float:
        if now_s >= self.sent_s:
            return 0.0
        return max(0.0, self.left_bytes - self.rate * (now_s - self.since_s))


class Network:
    """The transfers under way on a fabric.

    A driver calls `start` and `cancel` as the cluster asks for it, `finish` at the time that `next_event_s` says, and
    reports what `finish` returns. Time must not run backwards from call to call.
    """

    def __init__(self, fabric: Fabric, *, layerwise: LayerWise | None = None, faults: Faults | None = None) -> None:
        self.fabric = fabric
        self.layerwise = layerwise
        self.faults = faults
        self.num_bytes = 0.0  # sent, early layers and broken transfers included
        self.num_ended: Counter[Outcome] = Counter()
        self._ports: dict[Port, _Port] = {}
        self._ways: dict[tuple[int, int], _Way] = {}
        self._flows: dict[int, _Flow] = {}  # on their ports
        self._sending: list[tuple[float, int]] = []  # heap of (time of the last byte, transfer); some are out of date
        self._arriving: dict[int, Outcome] = {}  # off their ports, not yet reported
        self._arrivals: list[tuple[float, int]] = []  # heap of (time of the report, transfer); some were cancelled

    def start(
        self, transfer_id: int, source: int, target: int, num_bytes: float, now_s: float, *, prefill_s: float = 0.0
    ) -> None:
        """Begin to move ``num_bytes`` from instance ``source`` to instance ``target``.

        ``prefill_s`` is how long the prefill took that has ended right now: with layer-wise transfer layers were sent
        meanwhile. 0 where the sequence had to wait for its place, for then there was nowhere to send them to.

        Raises:
            UserError: when that number is under way already, or nothing connects the two instances.
        """
        if transfer_id in self._flows or transfer_id in self._arriving:
            raise UserError(f"transfer {transfer_id} is under way already; numbers must differ")
        self._advance(now_s)
        way = self._way(source, target)
        outcome, share = self.faults.of(transfer_id) if self.faults else (Outcome.DONE, 1.0)
        if outcome is Outcome.REFUSED:
            self._arrive(transfer_id, now_s + 2 * way.latency_s, outcome)  # asked, answered
            return
        visible = Visible(num_bytes, 0.0)
        if self.layerwise and prefill_s > 0:
            visible = self.layerwise.visible(num_bytes, way.bandwidth_bytes_s, prefill_s)
        self._count(way.ports, num_bytes - visible.num_bytes)
        to_send = visible.num_bytes * share
        extra_s = way.latency_s + visible.extra_s
        flow = _Flow(transfer_id, way.ports, extra_s, to_send, to_send, now_s, outcome)
        self._flows[transfer_id] = flow
        for port in way.ports:
            if not port.flows:
                port.busy_since_s = now_s
            port.flows[transfer_id] = flow
        self._share(way.ports, now_s)

    def next_event_s(self) -> float:
        """When something changes by itself next: call `finish` then. Infinity if nothing is under way."""
        arrivals = self._arrivals
        while arrivals and arrivals[0][1] not in self._arriving:
            heapq.heappop(arrivals)
        next_s = self._next_sent_s()
        if len(self._flows) == 1:  # nobody else's rate changes when it leaves its ports: what matters is its arrival
            next_s += next(iter(self._flows.values())).extra_s
        return min(next_s, arrivals[0][0] if arrivals else math.inf)

    def finish(self, now_s: float) -> list[Ended]:
        """What has ended by now and was not returned before, in order of the end; at one instant, of the numbers."""
        self._advance(now_s)
        ended: list[Ended] = []
        while self._arrivals and self._arrivals[0][0] <= now_s:
            _, number = heapq.heappop(self._arrivals)
            if outcome := self._arriving.pop(number, None):
                ended.append(Ended(number, outcome))
                self.num_ended[outcome] += 1
        return ended

    def cancel(self, transfer_id: int, now_s: float) -> bool:
        """Stop a transfer: what it has not sent yet is never sent. Whether it was under way."""
        self._advance(now_s)
        if flow := self._flows.get(transfer_id):
            self._leave(flow, now_s)
            self._share(flow.ports, now_s)
        return flow is not None or self._arriving.pop(transfer_id, None) is not None

    def share_done(self, transfer_id: int, now_s: float) -> float:
        """Which share (0 to 1) of what is to be sent visibly has been sent by now; unknown transfers count as done."""
        flow = self._flows.get(transfer_id)
        return 1 - flow.left_at(now_s) / flow.num_bytes if flow and flow.num_bytes else 1.0

    @property
    def num_under_way(self) -> int:
        """Transfers that have started and were not reported as ended."""
        return len(self._flows) + len(self._arriving)

    def use(self) -> list[PortUse]:
        """What has passed each port, of transfers that have left it; by name."""
        ports = sorted(self._ports.values(), key=lambda port: port.about.name)
        return [PortUse(p.about.name, p.about.bandwidth_bytes_s, p.num_bytes, p.busy_s) for p in ports]

    # inside

    def _way(self, source: int, target: int) -> _Way:
        if (way := self._ways.get((source, target))) is None:
            path = self.fabric.path(source, target)
            first, second = (self._ports.setdefault(port, _Port(port)) for port in path.ports)
            way = self._ways[source, target] = _Way((first, second), path.latency_s, path.bandwidth_bytes_s)
        return way

    def _next_sent_s(self) -> float:
        sending = self._sending
        while sending:
            sent_s, number = sending[0]
            if (flow := self._flows.get(number)) and flow.sent_s == sent_s:
                return sent_s
            heapq.heappop(sending)
        return math.inf

    def _advance(self, now_s: float) -> None:
        """Take flows whose last byte has been sent by now off their ports, each at its own time."""
        while (sent_s := self._next_sent_s()) <= now_s:
            flow = self._flows[heapq.heappop(self._sending)[1]]
            self._leave(flow, sent_s)
            self._arrive(flow.id, sent_s + flow.extra_s, flow.outcome)
            self._share(flow.ports, sent_s)

    def _arrive(self, transfer_id: int, end_s: float, outcome: Outcome) -> None:
        self._arriving[transfer_id] = outcome
        heapq.heappush(self._arrivals, (end_s, transfer_id))

    def _leave(self, flow: _Flow, now_s: float) -> None:
        del self._flows[flow.id]
        self._count(flow.ports, flow.num_bytes - flow.left_at(now_s))
        for port in flow.ports:
            del port.flows[flow.id]
            if not port.flows:
                port.busy_s += now_s - port.busy_since_s

    def _share(self, ports: Iterable[_Port], now_s: float) -> None:
        """Rates anew after a change at these ports. A flow whose rate stays keeps its end, to the bit."""
        flows = {flow: flow.ports for flow in _connected(ports)}
        capacity = {port: port.about.bandwidth_bytes_s for passed in flows.values() for port in passed}
        for flow, rate in max_min_rates(flows, capacity).items():
            if rate != flow.rate:
                flow.left_bytes, flow.since_s, flow.rate = flow.left_at(now_s), now_s, rate
                flow.sent_s = now_s + flow.left_bytes / rate
                heapq.heappush(self._sending, (flow.sent_s, flow.id))

    def _count(self, ports: Iterable[_Port], num_bytes: float) -> None:
        self.num_bytes += num_bytes
        for port in ports:
            port.num_bytes += num_bytes


def _connected(ports: Iterable[_Port]) -> list[_Flow]:
    """Flows that pass these ports, or share one with such a flow, and so on: no other's rate can change."""
    reached, found = dict.fromkeys(ports), dict[_Flow, None]()
    to_visit = list(reached)
    for port in to_visit:  # grows meanwhile
        for flow in port.flows.values():
            if flow not in found:
                found[flow] = None
                for other in flow.ports:
                    if other not in reached:
                        reached[other] = None
                        to_visit.append(other)
    return list(found)
