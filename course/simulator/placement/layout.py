"""Which stage of which instance stands on which GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from course.simulator.placement.machines import Candidate, Machines, Parallelism


class Slot(NamedTuple):
    """One GPU's part: a stage of an instance. Several GPUs of one stage share its layers."""

    role: str
    instance: int
    stage: int
    num_stages: int

    def __str__(self) -> str:
        letter = self.role[0].upper()
        return f"{letter}{self.instance}" + (f".{self.stage}" if self.num_stages > 1 else "")


@dataclass(frozen=True, slots=True)
class Layout:
    """``nodes[n][g]`` is what GPU g of node n has, None for nothing."""

    nodes: tuple[tuple[Slot | None, ...], ...]

    @property
    def num_idle(self) -> int:
        """GPUs without work."""
        return sum(slot is None for node in self.nodes for slot in node)

    def count(self, role: str) -> int:
        """Instances of that role."""
        return len({slot.instance for node in self.nodes for slot in node if slot and slot.role == role})

    def __str__(self) -> str:
        """One line for each node, one cell for each GPU: P0.1 is stage 1 of prefill instance 0."""
        width = max(len(str(slot)) for node in self.nodes for slot in (*node, "-"))
        lines = []
        for number, node in enumerate(self.nodes):
            cells = (f"{slot or '-'!s:^{width}}" for slot in node)
            lines.append(f"node {number:<3}[ {' | '.join(cells)} ]")
        return "\n".join(lines)


def lay_out_singles(
    machines: Machines, prefill: Parallelism, decode: Parallelism, num_prefill: int, num_decode: int
) -> Layout | None:
    """Instances stage by stage, widest stages first, each stage in the first node with room; None if one finds none."""
    stages = [
        (parallelism.tp, Slot(role, instance, stage, parallelism.pp))
        for role, parallelism, count in (("prefill", prefill, num_prefill), ("decode", decode, num_decode))
        for instance in range(count)
        for stage in range(parallelism.pp)
    ]
    nodes: list[list[Slot]] = [[] for _ in range(machines.num_nodes)]
    for tp, slot in sorted(stages, key=lambda stage: -stage[0]):  # stable: prefill first, then by number
        node = next((n for n in nodes if len(n) + tp <= machines.gpus_per_node), None)
        if node is None:
            return None
        node += [slot] * tp
    return _filled(nodes, machines)


def lay_out_pairs(machines: Machines, pair: Candidate, count: int) -> Layout | None:
    """Pairs whose segments stand in nodes of their own, as many pairs beside each other as a node takes; or None."""
    assert pair.prefill
    assert pair.decode
    per_node = pair.num_gpus // pair.num_segments
    beside = machines.gpus_per_node // per_node
    nodes: list[list[Slot]] = [[] for _ in range(machines.num_nodes)]
    for number in range(count):
        first = number // beside * pair.num_segments
        if first + pair.num_segments > machines.num_nodes:
            return None
        for segment in range(pair.num_segments):
            for role, parallelism in (("prefill", pair.prefill), ("decode", pair.decode)):
                inside = parallelism.pp // pair.num_segments
                for stage in range(segment * inside, (segment + 1) * inside):
                    nodes[first + segment] += [Slot(role, number, stage, parallelism.pp)] * parallelism.tp
    return _filled(nodes, machines)


def most_pairs(machines: Machines, pair: Candidate) -> int:
    """How many of these pairs the machines take."""
    beside = machines.gpus_per_node * pair.num_segments // pair.num_gpus
    return beside * (machines.num_nodes // pair.num_segments)


def _filled(nodes: list[list[Slot]], machines: Machines) -> Layout:
    rest = machines.gpus_per_node
    return Layout(tuple((*node, *[None] * (rest - len(node))) for node in nodes))
