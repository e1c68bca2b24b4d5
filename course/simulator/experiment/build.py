"""From an experiment to what runs it: requests, cost models, a cluster, a network.

Whatever cannot run is refused here, before the run, with a sentence that says which key and what would fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from typing import Any

from course.errors import UserError
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.mover import Mover
from course.serving.routers import ROUTERS
from course.serving.schedulers import make_scheduler
from course.simulator.capacity import kv_capacity, published_kv_capacity
from course.simulator.costs.registry import make_cost
from course.simulator.costs.swaps import WithSwaps, swap_block_s
from course.simulator.experiment.routing import make_routers
from course.simulator.experiment.spec import INSTANT, Experiment, InstanceSpec
from course.simulator.experiment.workload import make_workload, naming
from course.simulator.hardware import load_hardware
from course.simulator.links import Link, load_link
from course.simulator.network import Fabric, Faults, LayerWise, Network, Place
from course.simulator.parallel import Split
from course.simulator.run import CostModel
from course.simulator.shapes import ModelShape, load_shape
from course.workload.request import Workload

UNLIMITED_BLOCKS = 2**40


@dataclass(frozen=True)
class Kind:
    """One [[instances]] of the experiment, ready to be built: what all instances of that entry have in common."""

    spec: InstanceSpec
    number: int
    cost: CostModel
    kv_tokens: float
    num_blocks: int
    parameters: dict[str, Any]
    max_context_tokens: int

    @property
    def key(self) -> str:
        """Its name in messages."""
        return f"instances.{self.number}"

    def instance(self, id: int) -> Instance:
        """A new, empty one with a scheduler of its own."""
        spec = self.spec
        return Instance(
            make_scheduler(spec.scheduler_name, **self.parameters),
            self.num_blocks,
            spec.block_size,
            id=id,
            role=spec.role,
            prefix_cache=spec.prefix_cache,
            num_host_blocks=spec.host_kv_tokens // spec.block_size,
            num_stages=spec.pp,
            max_context_tokens=self.max_context_tokens,
        )


class Setup:
    """An experiment that can run. Raises UserError, naming the key and what would fit, if it cannot."""

    def __init__(self, experiment: Experiment, workload: Workload | None = None) -> None:
        self.experiment = experiment
        with naming("model"):
            self.shape: ModelShape = load_shape(experiment.model)
        _check_roles(experiment.instances)
        self.kinds = [_kind(experiment, spec, i, self.shape) for i, spec in enumerate(experiment.instances)]
        self.workload = workload or self._workload()
        self._check_prompts()

    @cached_property
    def kind_of(self) -> dict[int, Kind]:
        """The entry that each instance belongs to, by instance id. Ids count through the file from 0."""
        kinds = [kind for kind in self.kinds for _ in range(kind.spec.count)]
        return dict(enumerate(kinds))

    @property
    def costs(self) -> dict[int, CostModel]:
        """A cost model for each instance id."""
        return {id: kind.cost for id, kind in self.kind_of.items()}

    def cluster(self, make: Callable[..., Cluster] = Cluster) -> Cluster:
        """A new cluster; ``make`` may be a class of one's own that watches it."""
        prefill, decode = make_routers(self.experiment, self.costs, self.workload)
        return make([kind.instance(id) for id, kind in self.kind_of.items()], prefill, decode)

    def network(self) -> Network | None:
        """A new network; None if moving takes no time."""
        spec = self.experiment.network
        if (within := self.link) is None:
            return None
        places = {id: Place(kind.spec.node, kind.spec.tp * kind.spec.pp) for id, kind in self.kind_of.items()}
        across = load_link(spec.across) if spec.across else None
        fabric = Fabric(within, across, places, spec.card_per_gpu)
        with naming("network.across"):
            for source, target in self._moves():
                fabric.path(source, target)
        with naming("network"):
            return Network(
                fabric,
                layerwise=LayerWise(self.shape.num_layers, spec.sync_s) if spec.layerwise else None,
                faults=Faults(spec.refused, spec.failed, self.experiment.seed),
            )

    @property
    def link(self) -> Link | None:
        """The link between instances of one node: as [network] says, else the hardware's own. None: instant."""
        spec = self.experiment.network
        name = spec.link or load_hardware(self.experiment.hardware).link
        if name == INSTANT or (not name and spec.bandwidth_gb_s is None):
            if spec.bandwidth_gb_s is None:
                return None
            name = ""
        base = load_link(name) if name else Link(name="own", bandwidth_bytes_s=1.0)
        return Link(
            name=base.name,
            bandwidth_bytes_s=base.bandwidth_bytes_s if spec.bandwidth_gb_s is None else spec.bandwidth_gb_s * 1e9,
            latency_s=base.latency_s if spec.latency_us is None else spec.latency_us / 1e6,
        )

    # inside

    def _moves(self) -> list[tuple[int, int]]:
        """From which instance to which keys and values may move."""
        roles = {id: kind.spec.role for id, kind in self.kind_of.items()}
        sources = [id for id, role in roles.items() if role == "prefill"]
        targets = [id for id, role in roles.items() if role != "prefill"]
        moves = list(product(sources, targets))
        if issubclass(ROUTERS[self.experiment.router.prefill], Mover):
            moves += permutations(targets, 2)
        return moves

    def _workload(self) -> Workload:
        sizes = {kind.spec.block_size for kind in self.kinds}
        cached = {kind.spec.block_size for kind in self.kinds if kind.spec.prefix_cache}
        if len(cached) > 1:
            raise UserError(
                f"instances with prefix_cache have blocks of {' and '.join(map(str, sorted(cached)))} tokens; "
                "give all of them the same block_size"
            )
        experiment = self.experiment
        size = min(cached or sizes)
        return make_workload(experiment.workload, experiment.seed, self.shape.max_context, size)

    def _check_prompts(self) -> None:
        if self.experiment.workload.too_long == "refuse":
            return
        longest = max(self.workload.requests, key=lambda request: request.num_prompt_tokens)
        tokens = longest.num_prompt_tokens
        source = "workload.trace" if self.experiment.workload.trace else "workload.prompt_tokens"
        if self.experiment.workload.lengths:
            source = "workload.lengths"
        others = (
            "workload.fit_context = true scales all lengths, "
            'workload.too_long = "refuse" refuses those that are too long in the run'
        )
        if tokens > self.shape.max_context:
            raise UserError(
                f"{source}: request {longest.id} has a prompt of {tokens} tokens and {self.shape.name} has a context "
                f"of {self.shape.max_context}; {others}"
            )
        takers = [kind for kind in self.kinds if kind.spec.role != "decode" and kind.spec.count]
        roomiest = max(takers, key=lambda kind: kind.kv_tokens)
        if tokens > roomiest.kv_tokens:
            size = roomiest.spec.block_size
            needed = math.ceil((tokens + longest.max_new_tokens - 1) / size) * size  # the last token is never cached
            raise UserError(
                f"{source}: request {longest.id} has a prompt of {tokens} tokens and {roomiest.key} keeps "
                f"{roomiest.kv_tokens} in its KV cache; give {roomiest.key}.kv_tokens of at least {needed} if there is "
                f"memory, or a larger tp or pp; or {others}"
            )


def _check_roles(specs: Iterable[InstanceSpec]) -> None:
    roles = {spec.role for spec in specs if spec.count}
    if not roles:
        raise UserError("instances: every count is 0; at least one instance must run")
    if "prefill" in roles and not roles & {"decode", "mixed"}:
        raise UserError(
            'instances: role "prefill" hands answers over and nobody takes them; add [[instances]] with '
            'role = "decode" (count at least 1), or use role = "mixed"'
        )
    if roles == {"decode"}:
        raise UserError(
            'instances: role "decode" takes answers over and nobody begins them; add [[instances]] with '
            'role = "prefill" (count at least 1), or use role = "mixed"'
        )


def _kind(experiment: Experiment, spec: InstanceSpec, number: int, shape: ModelShape) -> Kind:
    where = f"instances.{number}"
    with naming(f"{where}.hardware" if spec.hardware else "hardware"):
        hardware = load_hardware(spec.hardware or experiment.hardware)
    with naming(f"{where}.pp" if spec.pp > shape.num_layers else f"{where}.tp"):
        fits = kv_capacity(shape, hardware, spec.tp, spec.pp, spec.memory_utilization)
    with naming(where):
        cost = make_cost(spec.cost or experiment.cost, shape, hardware, spec.tp, spec.pp)
    if spec.host_kv_tokens and hardware.host_link:
        split = Split(shape, spec.tp, spec.pp)
        cost = WithSwaps(cost, swap_block_s(split, load_link(hardware.host_link), spec.block_size))
    kv_tokens = fits if spec.kv_tokens is None else spec.kv_tokens
    if math.isfinite(kv_tokens) and spec.kv_tokens is not None:
        most = kv_capacity(shape, hardware, spec.tp, spec.pp, 1.0)
        if kv_tokens > most:
            raise UserError(
                f"{where}.kv_tokens: {kv_tokens} tokens do not fit beside the weights of {shape.name} on {spec.tp} * "
                f"{spec.pp} {hardware.name}; at most {most} would"
            )
    num_blocks = int(kv_tokens // spec.block_size) if math.isfinite(kv_tokens) else UNLIMITED_BLOCKS
    if num_blocks < 1:
        raise UserError(
            f"{where}.block_size: a block of {spec.block_size} tokens is larger than the KV cache of {int(kv_tokens)}; "
            "16 is usual"
        )
    parameters = {
        name: _tokens(where, name, value, spec, shape, fits) if isinstance(value, str) else value
        for name, value in spec.parameters.items()
    }
    with naming(where):
        make_scheduler(spec.scheduler_name, **parameters)  # a wrong value is refused here, with the key
    return Kind(spec, number, cost, kv_tokens, num_blocks, parameters, shape.max_context)


def _tokens(where: str, name: str, word: str, spec: InstanceSpec, shape: ModelShape, fits: int) -> int | str:
    """A scheduler's parameter given as a word that stands for a number of tokens; any other text stays as it is."""
    if word == "kv-capacity":
        return fits
    if word == "published-kv-capacity":
        with naming(f"{where}.{name}"):
            return published_kv_capacity(shape.name, spec.tp, spec.pp)
    return word
