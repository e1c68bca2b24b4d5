"""All workers of one engine: who is there, who knows whom, who takes whose place."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from course.engine.transfer.choice import CARRIERS
from course.engine.workers.handle import Worker, end_all
from course.engine.workers.memory import anonymous_file
from course.engine.workers.messages import Begin, Layout, Meet, Part
from course.engine.workers.starter import Starter
from course.engine.workers.statistics import Statistics
from course.errors import UserError
from course.model.recipe import Recipe
from course.serving.instance import Instance, Role

MAX_FAILED_STARTS = 3


@dataclass(slots=True)
class Station:
    """A worker's place, whoever fills it: its instance's id and role, its device, its core if that is the CPU."""

    id: int
    role: Role
    device: str
    core: int | None
    num_blocks: int
    num_failed_starts: int = field(default=0, compare=False)


class Crew:
    """Starts workers, introduces them to each other and replaces those that are lost.

    A worker on the CPU keeps its cache in memory that the others can map; this process only holds it open.
    """

    def __init__(
        self,
        recipe: Recipe,
        stations: Sequence[Station],
        block_size: int,
        token_bytes: int,
        carrier: str,
        on_start: Callable[[str], object],
    ) -> None:
        self.stations = list(stations)
        self.statistics = Statistics()
        self._block_size = block_size
        self._token_bytes = token_bytes
        self._carrier = carrier
        self._on_start = on_start
        self._starter = Starter(recipe, any(station.device == "cpu" for station in stations))
        self._at: dict[int, Worker] = {}
        self._memory: dict[int, int] = {}  # file descriptors by worker number
        self._num_born = 0
        self._store: Any = None
        self._rendezvous = self._open_store() if CARRIERS[carrier].needs_both_ends else ""

    @property
    def workers(self) -> list[Worker]:
        """The workers that are there, in order of their instances."""
        return list(self._at.values())

    def at(self, instance_id: int) -> Worker:
        """The worker that computes for an instance."""
        return self._at[instance_id]

    def start(self, instances: Sequence[Instance], clock_s: float) -> None:
        """Start all workers. Raises UserError if that cannot be."""
        self._on_start("importing torch and loading the model in a process that workers are forked from")
        self._starter.launch()
        self._starter.wait()
        for instance in instances:
            self._enter(instance, clock_s)

    def replace(
        self, worker: Worker, new_instance: Callable[[Station], Instance], now_s: float, clock_s: float
    ) -> Worker | None:
        """Another worker in the place of one that was dismissed; None if that cannot be."""
        station = self.stations[worker.instance.id]
        station.num_failed_starts = 0 if worker.is_ready else station.num_failed_starts + 1
        if station.num_failed_starts >= MAX_FAILED_STARTS:
            return None
        try:
            born = self._enter(new_instance(station), clock_s)
        except UserError as error:
            self.statistics.note(now_s, worker, str(error))
            return None
        self.statistics.num_restarts += 1
        return born

    def dismiss(self, worker: Worker) -> None:
        """A worker is lost: make sure that it is gone, and let the others know."""
        worker.is_lost = True
        worker.kill()
        self._at.pop(worker.instance.id, None)
        if (descriptor := self._memory.pop(worker.number, None)) is not None:
            os.close(descriptor)
        for other in self._at.values():
            other.send(Part(worker.number))

    def on_ready(self, worker: Worker, offer: bytes) -> None:
        """A worker has its cache; where others need its offer to reach it, they get it."""
        worker.is_ready = True
        self.stations[worker.instance.id].num_failed_starts = 0
        worker.offer = offer
        if offer:
            for other in self._at.values():
                if other is not worker:
                    self._introduce(worker, other)

    def close(self) -> None:
        """End all processes."""
        workers = self.workers
        self._at.clear()
        end_all([worker.pipe for worker in workers], [worker.pid for worker in workers])
        self._starter.close()
        for descriptor in self._memory.values():
            os.close(descriptor)
        self._memory.clear()
        self._store = None

    def _enter(self, instance: Instance, clock_s: float) -> Worker:
        station, number = self.stations[instance.id], self._num_born
        self._num_born += 1
        layout = Layout(station.num_blocks, self._block_size)
        shares = CARRIERS[self._carrier].maps_memory
        born = self._starter.start()
        begin = Begin(number, station.device, station.core, layout, self._carrier, self._rendezvous, shares)
        worker = Worker(born, begin, instance, clock_s)
        if shares:
            self._memory[number] = anonymous_file(layout.num_blocks * layout.block_size * self._token_bytes)
        worker.send(begin, self._memory.get(number))
        for other in self._at.values():
            if other.offer or other.number in self._memory:
                self._introduce(other, worker)
            if shares:
                self._introduce(worker, other)
        self._at[instance.id] = worker
        self._at = dict(sorted(self._at.items()))
        return worker

    def _open_store(self) -> str:
        """Where workers find each other: its address. The port is closed with the engine."""
        import torch.distributed as dist

        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        return f"127.0.0.1:{self._store.port}"

    def _introduce(self, one: Worker, to: Worker) -> None:
        """Let a worker reach another one's cache."""
        descriptor = self._memory.get(one.number)
        to.send(Meet(one.number, one.begin.layout, one.offer, descriptor is not None), descriptor)
