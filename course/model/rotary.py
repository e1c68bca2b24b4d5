"""Between a layer's first matrix and its attention: turn queries and keys, store keys and values."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from course.model.config import ModelConfig
from course.model.kv_cache import KVCache
from course.model.norm import rms_norm
from course.model.packing import PackedBatch


class Rotary(Protocol):
    """Rotary embedding (Su et al. 2021), and the write to the cache, in two steps as `Attention`."""

    def plan(self, batch: PackedBatch) -> Any:
        """Prepare what is the same in all layers."""
        ...

    def __call__(self, qkv: Tensor, gain: Tensor | None, cache: KVCache, layer: int, plan: Any) -> None:
        """Turn the queries of qkv [T, H + 2 K, D] in place, the keys too, and store keys and values of one layer.

        With ``gain`` [H + K, D] queries and keys go through RMSNorm before (Qwen3). What stands in the place of the
        keys and values afterwards is undefined.
        """
        ...


class TorchRotary:
    """The same in torch's public operators: every device and dtype."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: str) -> None:
        self.config = config
        self.complex_dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
        self.frequencies = torch.tensor(config.rope_inverse_frequencies, dtype=torch.float32, device=device)

    def plan(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Unit complex numbers [T, 1, D / 2], one per token and pair of head dimensions; and where to write."""
        angles = torch.outer(batch.positions.float(), self.frequencies)
        rotation = torch.polar(torch.full_like(angles, self.config.rope_scale), angles)
        return rotation.to(self.complex_dtype)[:, None], batch.write_rows

    def __call__(
        self, qkv: Tensor, gain: Tensor | None, cache: KVCache, layer: int, plan: tuple[Tensor, Tensor]
    ) -> None:
        """See Rotary."""
        rotation, write_rows = plan
        turned = qkv[:, : self.config.num_heads + self.config.num_kv_heads]
        if gain is not None:
            turned.copy_(rms_norm(turned, self.config.rms_norm_eps) * gain)
        rotate_(turned, rotation)
        cache.write(layer, qkv[:, self.config.num_heads :], write_rows)


def make_rotary(config: ModelConfig, dtype: torch.dtype, device: str, kernels: bool) -> Rotary:
    """Our kernel where kernels are wanted, torch's operators elsewhere."""
    if kernels:
        from course.model.kernels.rotary import KernelRotary

        return KernelRotary(config, device)
    return TorchRotary(config, dtype, device)


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
