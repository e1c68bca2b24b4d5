"""Attention over a paged cache: a plain specification and a fast way to the same numbers."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from course.errors import UserError
from course.model.config import ModelConfig
from course.model.kv_cache import KVCache
from course.model.packing import Spans


class Attention(Protocol):
    """Causal attention with grouped key-value heads, in two steps.

    `plan` turns spans into whatever indices and masks the back end wants, once per batch; the
    call then computes one layer. Every layer's keys and values of the spans, those of the
    queries included, are in the cache before the call. A block is zeroed when its first token is
    written (see `KVCache.clear`), unless the back end has ``needs_clean_blocks = False``.
    """

    def plan(self, spans: Spans, cache: KVCache) -> Any:
        """Prepare what is the same in all layers."""
        ...

    def __call__(self, queries: Tensor, cache: KVCache, layer: int, plan: Any) -> Tensor:
        """Attend: queries [T, num_heads, head_dim] to outputs [T, num_heads * head_dim]."""
        ...


def attention_backend(name: str, config: ModelConfig, kernels: bool = False) -> Attention:
    """The back end of that name.

    ``plain`` is slow and obvious, ``paged`` gathers blocks for torch's fused attention, ``flash`` is our kernel that
    reads the blocks where they lie, ``auto`` the last of these where ``kernels`` can be used, else paged.
    """
    from course.model.attention.paged import PagedAttention
    from course.model.attention.plain import PlainAttention

    names = ("auto", "plain", "paged", "flash")
    if name not in names:
        raise UserError(f"unknown attention back end {name!r}; choose one of: {', '.join(names)}")
    if name == "flash" and not kernels:
        raise UserError("the attention back end 'flash' needs a CUDA GPU, Triton, and float32 or bfloat16; use auto")
    if kernels and name in ("auto", "flash"):
        from course.model.attention.flash import FlashAttention

        return FlashAttention(config.num_heads, config.num_kv_heads)
    return PlainAttention() if name == "plain" else PagedAttention()
