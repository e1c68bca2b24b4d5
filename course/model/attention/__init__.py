"""Attention over a paged cache: a plain specification and a fast way to the same numbers."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from course.errors import UserError
from course.model.kv_cache import KVCache
from course.model.packing import Spans


class Attention(Protocol):
    """Causal attention with grouped key-value heads, in two steps.

    `plan` turns spans into whatever indices and masks the back end wants, once per batch; the
    call then computes one layer. Every layer's keys and values of the spans, those of the
    queries included, are in the cache before the call.
    """

    def plan(self, spans: Spans, cache: KVCache) -> Any:
        """Prepare what is the same in all layers."""
        ...

    def __call__(self, queries: Tensor, cache: KVCache, layer: int, plan: Any) -> Tensor:
        """Attend: queries [T, num_heads, head_dim] to outputs [T, num_heads * head_dim]."""
        ...


def attention_backend(name: str) -> Attention:
    """The back end of that name: ``plain`` (slow, obvious) or ``paged`` (fast)."""
    from course.model.attention.paged import PagedAttention
    from course.model.attention.plain import PlainAttention

    backends: dict[str, type[Attention]] = {"plain": PlainAttention, "paged": PagedAttention}
    if name not in backends:
        raise UserError(f"unknown attention back end {name!r}; choose one of: {', '.join(backends)}")
    return backends[name]()
