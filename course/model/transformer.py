"""A Llama- or Qwen-style decoder in one sitting: embed, attend and transform, unembed.

What serving asks of a model differs from what training asks: the batch is a packed row of tokens
that belong to many sequences, keys and values live in a shared paged cache, and logits are
wanted for a few rows only. `Transformer.forward` is that function and nothing else.

Shapes: T tokens in the batch, S rows sampled, H query heads, K key-value heads, D head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course.errors import UserError
from course.model.attention import attention_backend
from course.model.config import ModelConfig
from course.model.kv_cache import KVCache
from course.model.linear import LinearMap, linear_map
from course.model.packing import PackedBatch
from course.model.weights import Weights, check_weights


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's weights. ``head_gain`` [H + K, D] belongs to Qwen3's norm of heads.

    The gains of the two RMSNorms are multiplied into the columns of the maps that follow them.
    """

    qkv: LinearMap
    head_gain: Tensor | None
    output: LinearMap
    gate: LinearMap
    up: LinearMap
    down: LinearMap


class Transformer:
    """The network: holds weights, keeps no state between calls.

    ``packed`` asks for pre-packed weights where the device has them (see `linear_map`).
    Raises UserError for weights that do not fit the config, or a device that is not there.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        attention: str = "paged",
        packed: bool = True,
    ) -> None:
        check_weights(config, weights)
        check_device(device)
        self.config = config
        self.dtype = dtype
        self.device = device
        self.attention = attention_backend(attention)
        weights = {name: tensor.to(device=device, dtype=dtype) for name, tensor in weights.items()}
        self.embedding = weights["model.embed_tokens.weight"]
        self.layers = [_layer(config, weights, i, packed) for i in range(config.num_layers)]
        unembedding = self.embedding if config.tied_embeddings else weights["lm_head.weight"]
        self.unembedding = linear_map(unembedding * weights["model.norm.weight"], packed=packed)
        self.rope_frequencies = torch.tensor(config.rope_inverse_frequencies, dtype=torch.float32, device=device)

    def new_cache(self, num_blocks: int, block_size: int, device: str | None = None) -> KVCache:
        """An empty cache for this model, on its device unless told otherwise."""
        return KVCache(self.config, num_blocks, block_size, self.dtype, device or self.device)

    @torch.inference_mode()
    def forward(self, batch: PackedBatch, cache: KVCache) -> Tensor:
        """Compute the batch's keys and values into the cache; return logits [S, vocab_size]."""
        if batch.fresh_blocks:
            cache.clear(batch.fresh_blocks)
        x = self.embedding[batch.token_ids]
        rotation = self._rotation(batch.positions)
        plan = self.attention.plan(batch.spans, cache)
        for i, layer in enumerate(self.layers[:-1]):
            queries = self._project(i, layer, x, rotation, batch, cache)
            x = layer.output.add_to(x, self.attention(queries, cache, i, plan))
            x = self._mlp(layer, x)
        # The last layer must store every token's keys and values, but what it makes of them
        # matters only to the rows that are sampled.
        i, layer = len(self.layers) - 1, self.layers[-1]
        queries = self._project(i, layer, x, rotation, batch, cache)
        if batch.sampled_rows is not None:
            queries, x = queries[batch.sampled_rows], x[batch.sampled_rows]
            plan = self.attention.plan(batch.last_spans, cache)
        if len(x):
            x = layer.output.add_to(x, self.attention(queries, cache, i, plan))
            x = self._mlp(layer, x)
        return self.unembedding(rms_norm(x, self.config.rms_norm_eps))

    def _project(self, i: int, layer: Layer, x: Tensor, rotation: Tensor, batch: PackedBatch, cache: KVCache) -> Tensor:
        """Queries [T, H, D] of layer i; its keys and values go to the cache."""
        num_heads, num_kv_heads = self.config.num_heads, self.config.num_kv_heads
        qkv = layer.qkv(rms_norm(x, self.config.rms_norm_eps))
        qkv = qkv.view(len(x), num_heads + 2 * num_kv_heads, self.config.head_dim)
        turned = qkv[:, : num_heads + num_kv_heads]
        if layer.head_gain is not None:
            turned.copy_(rms_norm(turned, self.config.rms_norm_eps) * layer.head_gain)
        rotate_(turned, rotation)
        cache.write(i, qkv[:, num_heads:], batch.write_rows)
        return qkv[:, :num_heads]

    def _mlp(self, layer: Layer, x: Tensor) -> Tensor:
        h = rms_norm(x, self.config.rms_norm_eps)
        return layer.down.add_to(x, layer.up.times(h, layer.gate.silu(h)))

    def _rotation(self, positions: Tensor) -> Tensor:
        """Unit complex numbers [T, 1, D / 2], one per token and pair of head dimensions."""
        angles = torch.outer(positions.float(), self.rope_frequencies)
        rotation = torch.polar(torch.full_like(angles, self.config.rope_scale), angles)
        return rotation.to(torch.complex128 if self.dtype == torch.float64 else torch.complex64)[:, None]


def check_device(device: str) -> None:
    """Raise UserError unless the device is cpu, or a CUDA device that is here."""
    kind, _, index = device.partition(":")
    num_gpus = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else 0
    is_here = device == "cpu" or ((index or "0").isdigit() and int(index or 0) < num_gpus)
    if not is_here:
        raise UserError(f"the device {device!r} is not available here; use cpu{' or cuda' if num_gpus else ''}")


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """RMSNorm without gain over the last axis (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + eps).

    Written with a vector norm it takes half the time of torch's own on a CPU.
    """
    wide = torch.float32 if x.dtype == torch.bfloat16 else x.dtype
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return (x * scale).to(x.dtype)


def rotate_(heads: Tensor, rotation: Tensor) -> None:
    """Rotary embedding in place on heads [T, heads, D] whose pairs lie side by side.

    Turning a pair by an angle is one multiplication of complex numbers. There are no complex
    numbers of two bfloat16, so those go through float32.
    """
    wide = heads.float() if heads.dtype == torch.bfloat16 else heads
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
    pairs.mul_(rotation)
    if wide is not heads:
        heads.copy_(wide)


def pair_up(rows: Tensor, head_dim: int) -> Tensor:
    """Reorder rows [heads * head_dim, ...] so that the two halves of each pair are neighbours.

    Hugging Face keeps dimension i of a head and i + head_dim / 2 as a pair. Queries and keys
    reordered alike have the same products, so this changes no score.
    """
    halves = rows.unflatten(0, (-1, 2, head_dim // 2))
    return halves.transpose(1, 2).flatten(0, 2).contiguous()


def _layer(config: ModelConfig, weights: Weights, i: int, packed: bool) -> Layer:
    name = f"model.layers.{i}"

    def linear(part: str, gain: str | None = None) -> LinearMap:
        weight = weights[f"{name}.{part}.weight"]
        if gain:
            weight = weight * weights[f"{name}.{gain}.weight"]
        return linear_map(weight, weights.get(f"{name}.{part}.bias"), packed=packed)

    return Layer(
        qkv=_qkv(config, weights, name, packed),
        head_gain=_head_gain(config, weights, name),
        output=linear("self_attn.o_proj"),
        gate=linear("mlp.gate_proj", "post_attention_layernorm"),
        up=linear("mlp.up_proj", "post_attention_layernorm"),
        down=linear("mlp.down_proj"),
    )


def _qkv(config: ModelConfig, weights: Weights, name: str, packed: bool) -> LinearMap:
    """One map for queries, keys and values, the first two with their pairs side by side."""

    def joined(kind: str) -> Tensor:
        queries, keys, values = (weights[f"{name}.self_attn.{part}_proj.{kind}"] for part in "qkv")
        return torch.cat([pair_up(queries, config.head_dim), pair_up(keys, config.head_dim), values])

    weight = joined("weight") * weights[f"{name}.input_layernorm.weight"]
    return linear_map(weight, joined("bias") if config.qkv_bias else None, packed=packed)


def _head_gain(config: ModelConfig, weights: Weights, name: str) -> Tensor | None:
    if not config.qk_norm:
        return None
    query_gain = pair_up(weights[f"{name}.self_attn.q_norm.weight"], config.head_dim)
    key_gain = pair_up(weights[f"{name}.self_attn.k_norm.weight"], config.head_dim)
    return torch.cat([query_gain.expand(config.num_heads, -1), key_gain.expand(config.num_kv_heads, -1)])
