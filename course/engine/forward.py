"""One forward pass over chunks, and on a GPU the decode steps as CUDA graphs.

A decode step of a small model is a few hundred short kernels, and a processor needs longer to launch them than a GPU to
run them. A CUDA graph is launched as one. It replays fixed addresses, so its inputs lie in buffers of fixed place and
size: there is a graph for each of a ladder of batch sizes, and a batch takes the next larger one. Rows that are none
have position -1: they see no keys and write none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course.model.kv_cache import KVCache
from course.model.packing import Chunk, PackedBatch, Spans, pack
from course.model.transformer import Transformer

LADDER = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


class ForwardPass:
    """Chunks to logits [chunks that are sampled, vocab_size], on any device."""

    def __init__(self, network: Transformer, cache: KVCache) -> None:
        self.network = network
        self.cache = cache

    def __call__(self, chunks: Sequence[Chunk]) -> Tensor:
        """Compute at least one chunk into the cache. The logits are valid until the next call."""
        batch = pack(chunks, self.cache.block_size, self.cache.num_kv_heads, self.network.device)
        return self.network.forward(batch, self.cache)

    def prepare(self, sizes: Iterable[int] = LADDER) -> None:
        """Do now what the first step of each of these batch sizes would have to do first."""


class CapturedStep(NamedTuple):
    """A graph, where it leaves its logits, and what it reads: that must live, at its place, as long as the graph."""

    graph: torch.cuda.CUDAGraph
    logits: Tensor
    read: Any


class GraphedForwardPass(ForwardPass):
    """The same; steps in which every sequence computes one token and samples are graphs.

    A graph is captured when a step of its size first runs, which then takes some tens of milliseconds longer, or by
    `prepare`.
    """

    def __init__(self, network: Transformer, cache: KVCache) -> None:
        super().__init__(network, cache)
        from course.model.attention.flash import FlashAttention

        assert isinstance(network.attention, FlashAttention)
        self._attention = network.attention
        widest = min(cache.num_blocks, -(-network.config.max_context // cache.block_size))
        # One row each of tokens, positions, write rows, then the block tables, turned so that the part in use lies
        # together whatever its width.
        self._buffer = torch.zeros(3 + widest, LADDER[-1], dtype=torch.int32, device=network.device).flatten()
        self._host = torch.zeros(self._buffer.shape, dtype=torch.int32, pin_memory=True)
        self._widest = widest
        self._copied = torch.cuda.Event()
        self._steps: dict[int, CapturedStep] = {}
        self._memory = torch.cuda.graph_pool_handle()

    def __call__(self, chunks: Sequence[Chunk]) -> Tensor:
        """See ForwardPass."""
        if len(chunks) > LADDER[-1] or any(len(chunk.token_ids) > 1 or not chunk.sampled for chunk in chunks):
            return super().__call__(chunks)
        size = LADDER[bisect_left(LADDER, len(chunks))]
        if size not in self._steps:
            self._steps[size] = self._capture(size)
        self._fill(chunks, size)
        return self.replay(size)[: len(chunks)]

    def replay(self, size: int) -> Tensor:
        """Run the step of that size of the ladder again, on the inputs that it has; its logits [size, vocab_size]."""
        step = self._steps[size]
        step.graph.replay()
        return step.logits

    def prepare(self, sizes: Iterable[int] = LADDER) -> None:
        """See ForwardPass."""
        for size in sorted({LADDER[bisect_left(LADDER, size)] for size in sizes}, reverse=True):
            if size not in self._steps:
                self._steps[size] = self._capture(size)

    def _fill(self, chunks: Sequence[Chunk], size: int) -> None:
        """The step's inputs into the buffers, in one copy that the processor does not wait for."""
        self._copied.synchronize()
        block_size, num_rows = self.cache.block_size, 2 * self.cache.num_kv_heads
        width = max(chunk.start for chunk in chunks) // block_size + 1
        inputs = self._host[: (3 + width) * size].numpy().reshape(3 + width, size)
        inputs[:3, len(chunks) :] = [[0], [-1], [-1]]
        for i, (tokens, start, table, _) in enumerate(chunks):
            last, offset = divmod(start, block_size)
            inputs[:3, i] = tokens[0], start, table[last] * num_rows * block_size + offset
            inputs[3 : 4 + last, i] = table[: last + 1]
        self._buffer[: inputs.size].copy_(self._host[: inputs.size], non_blocking=True)
        self._copied.record()

    def _capture(self, size: int) -> CapturedStep:
        """Record the step of ``size`` rows, all of them none while that happens."""
        inputs = self._buffer[: (3 + self._widest) * size].view(3 + self._widest, size)
        inputs[0], inputs[1:3] = 0, -1
        token_ids, positions, write_rows = inputs[:3]
        none = Spans(*(np.zeros(0, np.int64),) * 3)
        batch = PackedBatch(token_ids, positions, write_rows[:, None], none, none, None, [])
        plan = self._attention.decode_plan(positions, inputs[3:].t(), self.cache)

        def step() -> Tensor:
            return self.network.compute(batch, self.cache, plan, plan)

        stream = torch.cuda.Stream(self.network.device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()  # kernels are compiled and libraries woken before anything is recorded
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            logits = step()
        return CapturedStep(graph, logits, (batch, plan))


def forward_pass(network: Transformer, cache: KVCache) -> ForwardPass:
    """With graphs where the network's own kernels run on a GPU."""
    has_graphs = cache.blocks.is_cuda and network.has_fixed_steps
    return GraphedForwardPass(network, cache) if has_graphs else ForwardPass(network, cache)
