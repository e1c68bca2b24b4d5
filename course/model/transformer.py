"""A Llama- or Qwen-style decoder in one sitting: embed, attend and transform, unembed.

What serving asks of a model differs from what training asks: the batch is a packed row of tokens
that belong to many sequences, keys and values live in a shared paged cache, and logits are
wanted for a few rows only. `Transformer.forward` is that function and nothing else.

Shapes: T tokens in the batch, S rows sampled, H query heads, K key-value heads, D head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course.errors import UserError
from course.model.attention import attention_backend
from course.model.config import ModelConfig
from course.model.kernels import are_usable
from course.model.kv_cache import KVCache
from course.model.linear import GatedMap, LinearMap, gated_map, linear_map
from course.model.packing import PackedBatch
from course.model.rotary import make_rotary, pair_up
from course.model.weights import Weights, check_weights


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's weights. ``head_gain`` [H + K, D] belongs to Qwen3's norm of heads.

    The gains of the two RMSNorms are multiplied into the columns of the maps that follow them.
    """

    qkv: LinearMap
    head_gain: Tensor | None
    output: LinearMap
    gated: GatedMap
    down: LinearMap


class Transformer:
    """The network: holds weights, keeps no state between calls.

    ``packed`` asks for pre-packed weights where the device has them (see `linear_map`), ``kernels`` for our own
    kernels (default: where they can be used, see `course.model.kernels`).
    Raises UserError for weights that do not fit the config, or a device that is not there.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        attention: str = "auto",
        packed: bool = True,
        kernels: bool | None = None,
    ) -> None:
        check_weights(config, weights)
        check_device(device)
        self.config = config
        self.dtype = dtype
        self.device = device
        self.kernels = (device != "cpu" if kernels is None else kernels) and are_usable(device, dtype)
        self.attention = attention_backend(attention, config, self.kernels)
        self.rotary = make_rotary(config, dtype, device, self.kernels)
        weights = {name: tensor.to(device=device, dtype=dtype) for name, tensor in weights.items()}
        self.embedding = weights["model.embed_tokens.weight"]
        self.layers = [_layer(config, weights, i, packed, self.kernels) for i in range(config.num_layers)]
        unembedding = self.embedding if config.tied_embeddings else weights["lm_head.weight"]
        self.unembedding = linear_map(unembedding * weights["model.norm.weight"], packed=packed, kernels=self.kernels)

    def new_cache(self, num_blocks: int, block_size: int, device: str | None = None) -> KVCache:
        """An empty cache for this model, on its device unless told otherwise."""
        return KVCache(self.config, num_blocks, block_size, self.dtype, device or self.device)

    @property
    def needs_clean_blocks(self) -> bool:
        """Whether the attention wants a block zeroed when its first token is written."""
        return getattr(self.attention, "needs_clean_blocks", True)

    @property
    def has_fixed_steps(self) -> bool:
        """Whether decode steps of one size are the same operations on the same addresses: what a CUDA graph needs."""
        return self.kernels and not self.needs_clean_blocks

    def forward(self, batch: PackedBatch, cache: KVCache) -> Tensor:
        """Compute the batch's keys and values into the cache; return logits [S, vocab_size]."""
        if batch.fresh_blocks and self.needs_clean_blocks:
            cache.clear(batch.fresh_blocks)
        plan = self.attention.plan(batch.spans, cache)
        last_plan = plan if batch.sampled_rows is None else self.attention.plan(batch.last_spans, cache)
        return self.compute(batch, cache, plan, last_plan)

    @torch.inference_mode()
    def compute(self, batch: PackedBatch, cache: KVCache, plan: Any, last_plan: Any) -> Tensor:
        """`forward` without what a processor does first: tensors alone, so that a CUDA graph can hold it.

        ``plan`` is the attention's for the batch's spans, ``last_plan`` for its last spans.
        """
        eps = self.config.rms_norm_eps
        x = self.embedding[batch.token_ids]
        rotary_plan = self.rotary.plan(batch)
        for i, layer in enumerate(self.layers[:-1]):
            queries = self._project(i, layer, x, rotary_plan, cache)
            x = layer.output.add_to(x, self.attention(queries, cache, i, plan))
            x = layer.down.add_to(x, layer.gated.of_norm(x, eps))
        # The last layer must store every token's keys and values, but what it makes of them
        # matters only to the rows that are sampled.
        i, layer = len(self.layers) - 1, self.layers[-1]
        queries = self._project(i, layer, x, rotary_plan, cache)
        if batch.sampled_rows is not None:
            queries, x = queries[batch.sampled_rows], x[batch.sampled_rows]
        if len(x):
            x = layer.output.add_to(x, self.attention(queries, cache, i, last_plan))
            x = layer.down.add_to(x, layer.gated.of_norm(x, eps))
        return self.unembedding.of_norm(x, eps)

    def _project(self, i: int, layer: Layer, x: Tensor, rotary_plan: Any, cache: KVCache) -> Tensor:
        """Queries [T, H, D] of layer i; its keys and values go to the cache."""
        num_heads, num_kv_heads = self.config.num_heads, self.config.num_kv_heads
        qkv = layer.qkv.of_norm(x, self.config.rms_norm_eps)
        qkv = qkv.view(len(x), num_heads + 2 * num_kv_heads, self.config.head_dim)
        self.rotary(qkv, layer.head_gain, cache, i, rotary_plan)
        return qkv[:, :num_heads]


def check_device(device: str) -> None:
    """Raise UserError unless the device is cpu, or a CUDA device that is here."""
    kind, _, index = device.partition(":")
    num_gpus = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else 0
    is_here = device == "cpu" or ((index or "0").isdigit() and int(index or 0) < num_gpus)
    if not is_here:
        raise UserError(f"the device {device!r} is not available here; use cpu{' or cuda' if num_gpus else ''}")


def _layer(config: ModelConfig, weights: Weights, i: int, packed: bool, kernels: bool) -> Layer:
    name = f"model.layers.{i}"

    def part(part: str, gain: str | None = None) -> tuple[Tensor, Tensor | None]:
        weight = weights[f"{name}.{part}.weight"]
        if gain:
            weight = weight * weights[f"{name}.{gain}.weight"]
        return weight, weights.get(f"{name}.{part}.bias")

    gate = part("mlp.gate_proj", "post_attention_layernorm")
    up = part("mlp.up_proj", "post_attention_layernorm")
    return Layer(
        qkv=linear_map(*_qkv(config, weights, name), packed=packed, kernels=kernels),
        head_gain=_head_gain(config, weights, name),
        output=linear_map(*part("self_attn.o_proj"), packed=packed, kernels=kernels),
        gated=gated_map(gate, up, packed=packed, kernels=kernels),
        down=linear_map(*part("mlp.down_proj"), packed=packed, kernels=kernels),
    )


def _qkv(config: ModelConfig, weights: Weights, name: str) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of one map for queries, keys and values, the first two with their pairs side by side."""

    def joined(kind: str) -> Tensor:
        queries, keys, values = (weights[f"{name}.self_attn.{part}_proj.{kind}"] for part in "qkv")
        return torch.cat([pair_up(queries, config.head_dim), pair_up(keys, config.head_dim), values])

    weight = joined("weight") * weights[f"{name}.input_layernorm.weight"]
    return weight, joined("bias") if config.qkv_bias else None


def _head_gain(config: ModelConfig, weights: Weights, name: str) -> Tensor | None:
    if not config.qk_norm:
        return None
    query_gain = pair_up(weights[f"{name}.self_attn.q_norm.weight"], config.head_dim)
    key_gain = pair_up(weights[f"{name}.self_attn.k_norm.weight"], config.head_dim)
    return torch.cat([query_gain.expand(config.num_heads, -1), key_gain.expand(config.num_kv_heads, -1)])
