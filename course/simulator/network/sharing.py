"""Max-min fairness: nobody gets more at the expense of somebody who has less."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

Flow = TypeVar("Flow", bound=Hashable)
Port = TypeVar("Port", bound=Hashable)


def max_min_rates(ports_of: Mapping[Flow, tuple[Port, ...]], capacity: Mapping[Port, float]) -> dict[Flow, float]:
    """Rates of flows that pass through ports of limited capacity, by progressive filling.

    All rates grow together until a port is full; its flows keep what they have, the others go on growing. One port
    alone is thus shared equally, and what a flow cannot use because it is held up elsewhere goes to the rest. That is
    how many TCP or RDMA streams share a network in the mean (Bertsekas, Gallager: Data Networks, 1992, section 6.5.2).

    Args:
        ports_of: the ports that each flow passes, at least one.
        capacity: what a port can carry per second, above 0.
    """
    if len(ports_of) == 1:
        return {flow: min(capacity[port] for port in ports) for flow, ports in ports_of.items()}
    flows_at: dict[Port, dict[Flow, None]] = {}
    for flow, ports in ports_of.items():
        for port in ports:
            flows_at.setdefault(port, {})[flow] = None
    left = {port: capacity[port] for port in flows_at}
    rates: dict[Flow, float] = {}
    while flows_at:
        tightest = min(flows_at, key=lambda port: left[port] / len(flows_at[port]))
        rate = left[tightest] / len(flows_at[tightest])
        for flow in list(flows_at[tightest]):
            rates[flow] = rate
            for port in ports_of[flow]:
                left[port] -= rate
                del flows_at[port][flow]
                if not flows_at[port]:
                    del flows_at[port]
    return rates
