"""Where a decode step's time goes: arithmetic, attention, or calling operators.

The same step is run by a model with the same layers but next to no width: what that costs is
the price of calling operators and of Python, the same for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from course.model.config import ModelConfig, benchmark_shape, default_rope
from course.model.kv_cache import KVCache
from course.model.packing import Chunk, PackedBatch, pack
from course.model.transformer import Transformer
from course.model.weights import random_weights

BLOCK_SIZE = 32


def breakdown(
    model: str, packed: bool, num_sequences: int = 16, context: int = 200, dtype: torch.dtype = torch.float32
) -> dict[str, float]:
    """Milliseconds of a decode step: {step, matrices, attention, calls, weights_mb}.

    ``step`` is the whole, ``matrices`` its matrix products alone, ``attention`` gathering and
    attending alone, ``calls`` the whole step of the narrow model. Contexts spread evenly from
    half to one and a half times ``context``.
    """
    config = benchmark_shape(model)
    wide = _Step(config, packed, num_sequences, context, dtype)
    narrow = _Step(_narrow(config), packed, num_sequences, context, dtype)
    weights = sum(weight.numel() for weight in random_weights(config).values()) - config.vocab_size * config.hidden_size
    return {
        "step": _best_ms(wide.run),
        "matrices": _best_ms(wide.matrices),
        "attention": _best_ms(wide.attention),
        "calls": _best_ms(narrow.run),
        "weights_mb": weights * wide.network.embedding.element_size() / 1e6,
    }


def _narrow(config: ModelConfig) -> ModelConfig:
    """As many layers, heads and operators, but hardly any numbers."""
    return replace(
        config,
        vocab_size=16,
        hidden_size=2 * config.num_heads,
        intermediate_size=16,
        head_dim=2,
        rope_inverse_frequencies=default_rope(2),
    )


class _Step:
    """One decode step of ``num_sequences``, ready to be run again and again."""

    def __init__(self, config: ModelConfig, packed: bool, num_sequences: int, context: int, dtype: torch.dtype) -> None:
        self.network = Transformer(config, random_weights(config), dtype=dtype, packed=packed)
        contexts = torch.linspace(context / 2, 1.5 * context, num_sequences).long().tolist()
        counts = [-(-length // BLOCK_SIZE) for length in contexts]
        blocks = iter(torch.randperm(sum(counts), generator=torch.Generator().manual_seed(0)).tolist())
        self.chunks = [
            Chunk([1], length - 1, [next(blocks) for _ in range(count)])
            for length, count in zip(contexts, counts, strict=True)
        ]
        self.cache: KVCache = self.network.new_cache(sum(counts), BLOCK_SIZE)
        self.batch: PackedBatch = self._pack()
        self.plan = self.network.attention.plan(self.batch.spans, self.cache)

    def _pack(self) -> PackedBatch:
        return pack(self.chunks, BLOCK_SIZE, self.network.config.num_kv_heads)

    def run(self) -> None:
        """Pack, forward, choose."""
        self.network.forward(self._pack(), self.cache).argmax(dim=-1).tolist()

    @torch.inference_mode()
    def matrices(self) -> None:
        """The matrix products of the step."""
        config = self.network.config
        x = torch.zeros(len(self.chunks), config.hidden_size, dtype=self.network.dtype)
        heads = torch.zeros(len(self.chunks), config.num_heads * config.head_dim, dtype=self.network.dtype)
        for layer in self.network.layers:
            layer.qkv(x)
            layer.output.add_to(x, heads)
            layer.down.add_to(x, layer.gated.of_norm(x, config.rms_norm_eps))
        self.network.unembedding(x)

    @torch.inference_mode()
    def attention(self) -> None:
        """Gathering and attending in every layer."""
        config = self.network.config
        queries = torch.zeros(len(self.chunks), config.num_heads, config.head_dim, dtype=self.network.dtype)
        for i in range(config.num_layers):
            self.network.attention(queries, self.cache, i, self.plan)


def _best_ms(function: Callable[[], None], num_rounds: int = 30) -> float:
    """The fastest of several rounds: what the machine can do when nothing is in the way."""
    times_s = []
    for _ in range(num_rounds):
        start_s = time.perf_counter()
        function()
        times_s.append(time.perf_counter() - start_s)
    return 1e3 * min(times_s)
