"""The inside of a worker: it computes what it is told, and knows nothing of requests.

Three threads. One reads the pipe, so that a worker notices at once when its engine is gone, whatever it does. One
computes steps, one after another. One moves keys and values meanwhile. Only the pipe's writing end is used by two of
them. Blocks need no lock: a block that is being moved belongs to no sequence of a step (the control plane sees to it).
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any, NoReturn

import torch
from torch import Tensor

from course.engine.executor import Executor
from course.engine.transfer.choice import make_carrier
from course.engine.workers.memory import mapped
from course.engine.workers.messages import (
    Begin,
    Broken,
    Done,
    LayerDone,
    Layout,
    Meet,
    Moved,
    NotMoved,
    Part,
    Piece,
    Pull,
    Push,
    Ready,
    Run,
)
from course.model.kv_cache import KVCache
from course.model.loading import Model
from course.model.recipe import Recipe
from course.model.transformer import Transformer


class ReportingCache(KVCache):
    """A cache that tells which layer is complete while a step runs; ``on_layer`` is given their number."""

    on_layer: Callable[[int], None] | None = None

    def write(self, layer: int, keys_values: Tensor, rows: Tensor) -> None:
        """See KVCache.write."""
        super().write(layer, keys_values, rows)
        if self.on_layer:
            self.on_layer(layer + 1)


class Worker:
    """Serves one engine over ``pipe`` until that is closed; ``model`` is the nursery's, for the CPU."""

    def __init__(self, pipe: Connection, recipe: Recipe, model: Model | None) -> None:
        self.pipe = pipe
        self._recipe = recipe
        self._model = model
        self._steps: queue.SimpleQueue[Run] = queue.SimpleQueue()
        self._moves: queue.SimpleQueue[Meet | Part | Pull | Push] = queue.SimpleQueue()
        self._sending = threading.Lock()

    def work(self) -> NoReturn:
        """Do what comes, for ever. Never returns into the nursery's code."""
        try:
            self._begin()
            threading.Thread(target=self._read, daemon=True).start()
            threading.Thread(target=self._move, daemon=True).start()
            while True:
                self._run(self._steps.get())
        except (EOFError, OSError):
            pass  # the engine is gone
        except BaseException as error:
            self._break(error)
        os._exit(1)

    def _begin(self) -> None:
        start_s = time.perf_counter()
        begin: Begin = self.pipe.recv()
        self.begin = begin
        if begin.core is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {begin.core})
        torch.set_num_threads(1)
        if begin.device == "cpu":
            assert self._model
            network = self._model.network
        else:
            torch.cuda.set_device(begin.device)
            network = self._recipe.make(begin.device).network
        num_blocks, block_size = begin.layout
        memory = self._memory(network, begin.layout) if begin.has_memory else None
        cache = ReportingCache(network.config, num_blocks, block_size, network.dtype, network.device, memory)
        self.cache = cache
        self.executor = Executor(network, num_blocks, block_size, cache=cache)
        self.executor.forward.prepare()  # on a GPU: before anybody waits for it
        self.carrier = make_carrier(begin.carrier, begin.number, cache, begin.rendezvous)
        self._send(Ready(self.carrier.offer(), time.perf_counter() - start_s))

    def _memory(self, network: Transformer, layout: Layout) -> Tensor:
        token_bytes = network.config.kv_bytes_per_token(network.dtype.itemsize)
        return mapped(recv_handle(self.pipe), layout.num_blocks * layout.block_size * token_bytes)

    def _read(self) -> None:
        """Sort what comes; the end of the pipe is the end of the process, in the middle of a step if need be."""
        try:
            while True:
                command: Any = self.pipe.recv()
                if isinstance(command, Run):
                    self._steps.put(command)
                    continue
                if isinstance(command, Meet) and command.has_memory:
                    memory = self._memory(self.executor.network, command.layout)
                    self.carrier.map(command.peer, self._like_mine(memory, command.layout))
                    continue
                if isinstance(command, Part):
                    self.carrier.notice(command.peer)
                self._moves.put(command)
        except (EOFError, OSError):
            os._exit(0)
        except BaseException as error:
            self._break(error)

    def _like_mine(self, memory: Tensor, layout: Layout) -> Tensor:
        """Another worker's memory as blocks, shaped as in `KVCache`."""
        shape = list(self.cache.blocks.shape)
        shape[1] = layout.num_blocks
        return memory.view(self.cache.blocks.dtype).view(shape)

    def _run(self, run: Run) -> None:
        start_s = time.perf_counter()
        self.cache.on_layer = None
        if run.tells_layers and self.begin.device == "cpu":  # a GPU only begins to compute what is written here
            self.cache.on_layer = lambda num_layers: self._send(LayerDone(run.number, num_layers))
        tokens = self.executor.run(run.step)
        self._send(Done(run.number, tokens, time.perf_counter() - start_s))

    def _move(self) -> None:
        torch.set_num_threads(1)
        if self.begin.device != "cpu":
            torch.cuda.set_device(self.begin.device)
        try:
            while True:
                match self._moves.get():
                    case Meet(peer, layout, offer):
                        self.carrier.meet(peer, offer, layout.num_blocks)
                    case Part(peer):
                        self.carrier.part(peer)
                    case Pull(peer, piece):
                        self._bring(peer, piece)
                    case Push(peer, piece):
                        with contextlib.suppress(RuntimeError):  # the other end is gone; if not, it will tell
                            self.carrier.push(peer, piece)
        except BaseException as error:
            self._break(error)

    def _bring(self, peer: int, piece: Piece) -> None:
        start_s = time.perf_counter()
        try:
            self.carrier.pull(peer, piece)
        except (RuntimeError, KeyError) as error:  # the other end is gone, say
            self._send(NotMoved(piece.transfer, f"{type(error).__name__}: {error}"))
        else:
            self._send(Moved(piece.transfer, time.perf_counter() - start_s))

    def _send(self, report: object) -> None:
        with self._sending:
            self.pipe.send(report)

    def _break(self, error: BaseException) -> NoReturn:
        """Say what happened in one sentence and end: nobody knows what the memory holds now."""
        words = str(error).strip().partition("\n")[0]
        try:
            self._send(Broken(f"{type(error).__name__}: {words}" if words else type(error).__name__))
        finally:
            os._exit(1)
