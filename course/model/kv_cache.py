"""The paged cache of keys and values: blocks of tensor memory, and nothing about who owns them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course.model.config import ModelConfig


class KVCache:
    """Keys and values of all layers, in blocks of ``block_size`` tokens.

    ``blocks`` has shape [num_layers, num_blocks, 2, num_kv_heads, block_size, head_dim]; index 0
    of the third axis holds keys, 1 values. Within a block each head's tokens lie together, so
    that one gather of [block_size, head_dim] pieces builds what attention wants to read, and a
    block is one contiguous piece to copy, swap or send per layer. They lie in ``memory`` if that is
    given: zero bytes, exactly as many as are needed.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        memory: Tensor | None = None,
    ) -> None:
        shape = (config.num_layers, num_blocks, 2, config.num_kv_heads, block_size, config.head_dim)
        if memory is None:
            memory = torch.zeros(shape, dtype=dtype, device=device)
        self.blocks = memory.view(dtype).view(shape)
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.num_kv_heads = config.num_kv_heads
        self.head_dim = config.head_dim
        # Two flat views per layer, made once: a token's rows for writing, a head's share of a
        # block for reading.
        self._token_rows = [layer.view(-1, config.head_dim) for layer in self.blocks]
        self._pieces = [layer.view(-1, block_size * config.head_dim) for layer in self.blocks]

    @property
    def num_bytes(self) -> int:
        """Memory that the cache takes."""
        return self.blocks.numel() * self.blocks.element_size()

    def write(self, layer: int, keys_values: Tensor, rows: Tensor) -> None:
        """Store new keys and values of one layer.

        ``keys_values`` [tokens, 2 * num_kv_heads, head_dim] holds each token's keys, then its
        values; ``rows`` [tokens, 2 * num_kv_heads] says where (see `write_rows`).
        """
        self._token_rows[layer].index_put_((rows,), keys_values)

    def read(self, layer: int, pieces: Tensor) -> Tensor:
        """Gather pieces [n] of one layer (see `read_pieces`): shape [n, block_size * head_dim]."""
        return self._pieces[layer].index_select(0, pieces)

    def clear(self, blocks: Sequence[int]) -> None:
        """Zero these blocks in every layer.

        Attention multiplies what lies behind a sequence's end with weight zero, and zero times
        NaN is NaN: a block that changes hands must not carry one over.
        """
        self.blocks.index_fill_(1, self._index(blocks), 0.0)

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy blocks inside the cache, all sources read before any target is written."""
        self.blocks[:, self._index(targets)] = self.blocks[:, self._index(sources)]

    def copy_from(self, other: KVCache, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy blocks of another cache (on any device) into this one."""
        moved = other.blocks[:, other._index(sources)].to(self.blocks.device)
        self.blocks[:, self._index(targets)] = moved

    def _index(self, blocks: Sequence[int]) -> Tensor:
        return torch.tensor(blocks, dtype=torch.int64, device=self.blocks.device)
