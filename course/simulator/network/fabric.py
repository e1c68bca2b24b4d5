"""Where instances stand and what lies between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from course.errors import UserError
from course.simulator.links import Link


class Place(NamedTuple):
    """An instance's node (machine), and how many accelerators it has: each brings a link of its own."""

    node: int = 0
    num_gpus: int = 1


class Port(NamedTuple):
    """One direction of what connects an instance or a node: "instance 3 out", "node 1 in"."""

    owner: str
    direction: str
    bandwidth_bytes_s: float

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.owner} {self.direction}"


class Path(NamedTuple):
    """What a transfer passes: a port out, a port in, and the latency between them."""

    ports: tuple[Port, Port]
    latency_s: float

    @property
    def bandwidth_bytes_s(self) -> float:
        """Bytes per second of a transfer that is alone."""
        return min(port.bandwidth_bytes_s for port in self.ports)


@dataclass(frozen=True)
class Fabric:
    """Links within a node and between nodes; the switch in the middle of either is never the limit.

    Each accelerator has a port of link ``within`` in each direction (NVLink behind a switch, PCIe), and the shards of
    an instance move side by side: two instances of 4 accelerators are connected 4 times as fast. Between nodes every
    instance of a node shares its one network card, ``across``; with ``card_per_gpu`` each accelerator has its own.
    Instances that ``places`` does not name stand on node 0 with one accelerator.
    """

    within: Link
    across: Link | None = None
    places: Mapping[int, Place] = field(default_factory=dict)
    card_per_gpu: bool = False

    def path(self, source: int, target: int) -> Path:
        """The way from one instance to another.

        Raises:
            UserError: when they stand on different nodes and nothing connects nodes.
        """
        here, there = (self.places.get(instance, Place()) for instance in (source, target))
        if here.node == there.node:
            link, owners, lanes = (
                self.within,
                (f"instance {source}", f"instance {target}"),
                (here.num_gpus, there.num_gpus),
            )
        elif self.across is None:
            raise UserError(
                f"instances {source} and {target} stand on nodes {here.node} and {there.node}, and no link connects "
                "nodes; name one, such as 25gbit"
            )
        elif self.card_per_gpu:
            link = self.across
            owners, lanes = (f"cards of {source}", f"cards of {target}"), (here.num_gpus, there.num_gpus)
        else:
            link, owners, lanes = self.across, (f"node {here.node}", f"node {there.node}"), (1, 1)
        ports = (
            Port(owners[0], "out", link.bandwidth_bytes_s * lanes[0]),
            Port(owners[1], "in", link.bandwidth_bytes_s * lanes[1]),
        )
        return Path(ports, link.latency_s)
