"""GPUs in nodes, and the ways to split a model over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from course.errors import UserError
from course.simulator.parallel import Split
from course.simulator.shapes import ModelShape

MOST_GPUS = 4096
"""The chosen placement is simulated as one cluster; with more it would take many minutes."""


@dataclass(frozen=True, slots=True)
class Machines:
    """``num_gpus`` in nodes of ``gpus_per_node``: fast links inside a node, slower ones between nodes.

    Raises:
        UserError: unless whole nodes make up the number.
    """

    num_gpus: int
    gpus_per_node: int

    def __post_init__(self) -> None:
        if self.num_gpus < 1 or self.gpus_per_node < 1:
            raise UserError(
                f"a placement needs at least 1 GPU in nodes of at least 1, got {self.num_gpus} in nodes of "
                f"{self.gpus_per_node}"
            )
        if self.num_gpus > MOST_GPUS:
            raise UserError(f"a placement takes at most {MOST_GPUS} GPUs, got {self.num_gpus}")
        if self.num_gpus % self.gpus_per_node:
            raise UserError(
                f"{self.num_gpus} GPUs do not fill nodes of {self.gpus_per_node}; "
                f"give a multiple of {self.gpus_per_node}, or smaller nodes"
            )

    @property
    def num_nodes(self) -> int:
        """How many nodes there are."""
        return self.num_gpus // self.gpus_per_node


class Parallelism(NamedTuple):
    """``tp`` GPUs share each layer (intra-op), ``pp`` stages share the layers (inter-op)."""

    tp: int
    pp: int

    @property
    def num_gpus(self) -> int:
        """GPUs of one instance."""
        return self.tp * self.pp

    def __str__(self) -> str:
        return f"tp {self.tp}, pp {self.pp}"


class Candidate(NamedTuple):
    """What is tried: a prefill instance, a decode instance, or a pair of both that is cut into ``num_segments``.

    The parallelism is that of whole instances. Of a pair, each segment holds 1/num_segments of the stages of either
    instance, and its GPUs are those of one node (DistServe, OSDI'24, section 4.2).
    """

    prefill: Parallelism | None
    decode: Parallelism | None
    num_segments: int = 1

    @property
    def num_gpus(self) -> int:
        """GPUs of all instances."""
        return sum(p.num_gpus for p in (self.prefill, self.decode) if p)

    def __str__(self) -> str:
        parts = [f"{name} {p}" for name, p in (("prefill", self.prefill), ("decode", self.decode)) if p]
        nodes = [f"over {self.num_segments} nodes"] if self.num_segments > 1 else []
        return "; ".join(parts + nodes)


def single_candidates(shape: ModelShape, machines: Machines) -> Iterator[Candidate]:
    """Algorithm 1: prefill and decode instances by themselves, each stage within a node, stages anywhere."""
    for parallelism in splits(shape, machines.gpus_per_node, machines.num_gpus - 1):
        yield Candidate(parallelism, None)
        yield Candidate(None, parallelism)


def pair_candidates(shape: ModelShape, machines: Machines) -> Iterator[Candidate]:
    """Algorithm 2: pairs of both whose equal stages share a node, so that keys and values never leave it."""
    inside = machines.gpus_per_node
    for num_segments in range(1, machines.num_nodes + 1):
        if shape.num_layers % num_segments:
            continue
        segments = [s for s in splits(shape, inside, inside - 1) if not shape.num_layers % (s.pp * num_segments)]
        for prefill in segments:
            for decode in segments:
                if prefill.num_gpus + decode.num_gpus <= inside:
                    whole = [Parallelism(s.tp, s.pp * num_segments) for s in (prefill, decode)]
                    yield Candidate(whole[0], whole[1], num_segments)


def splits(shape: ModelShape, max_tp: int, max_gpus: int) -> list[Parallelism]:
    """All (tp, pp) of at most ``max_gpus`` GPUs in which every stage has as many layers and ``tp`` shares the heads."""
    found = []
    for tp in range(1, min(max_tp, max_gpus) + 1):
        try:
            Split(shape, tp)
        except UserError:
            continue
        stages = range(1, max_gpus // tp + 1)
        found += [Parallelism(tp, pp) for pp in stages if not shape.num_layers % pp]
    return found
