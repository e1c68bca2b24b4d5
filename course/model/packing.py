"""Chunks of many sequences packed into one batch, with the index arithmetic done once per step.

A chunk is some tokens of one sequence: a whole prompt, a piece of one, or the one token of a
decode step. Nothing here knows which; all chunks lie behind one another in one long row of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]


class Chunk(NamedTuple):
    """New tokens of one sequence.

    ``start`` tokens of the sequence are in the cache already. ``block_table[i]`` is the block of
    positions i * block_size ..., for every position up to the chunk's end. ``sampled`` asks for
    the logits after the chunk's last token.
    """

    token_ids: Sequence[int]
    start: int
    block_table: Sequence[int]
    sampled: bool = True


@dataclass(frozen=True, slots=True)
class Spans:
    """Queries of some sequences, and where the keys that they see are stored.

    Sequence ``i`` has ``lengths[i]`` queries at positions ``starts[i]`` and following, and sees
    positions up to each query's own. ``block_tables`` [sequences, blocks] is padded on the right
    with the sequence's own last block.
    """

    starts: Ints
    lengths: Ints
    block_tables: Ints

    @property
    def contexts(self) -> Ints:
        """Positions that the last query of each sequence sees."""
        return self.starts + self.lengths

    def last_queries(self, chosen: Ints) -> Spans:
        """The last query alone of the chosen sequences."""
        return Spans(self.contexts[chosen] - 1, np.ones_like(chosen), self.block_tables[chosen])


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One forward pass. T tokens in all, of which S sequences want logits.

    ``token_ids`` and ``positions`` have shape [T]. ``write_rows`` [T, 2 * num_kv_heads] says where
    each token's keys and values go (see `KVCache.write`). ``sampled_rows`` [S] are the rows whose
    logits are wanted, or None where all of them are. ``fresh_blocks`` get their first token now.
    """

    token_ids: Tensor
    positions: Tensor
    write_rows: Tensor
    spans: Spans
    last_spans: Spans
    sampled_rows: Tensor | None
    fresh_blocks: list[int]


def pack(
    chunks: Sequence[Chunk],
    block_size: int,
    num_kv_heads: int,
    device: str | torch.device = "cpu",
) -> PackedBatch:
    """Pack at least one chunk of at least one token each.

    The order is kept. The fast attention works best with decodes first, by growing context.
    """
    starts = np.array([chunk.start for chunk in chunks], dtype=np.int64)
    lengths = np.array([len(chunk.token_ids) for chunk in chunks], dtype=np.int64)
    spans = Spans(starts, lengths, _pad_tables(chunks, starts + lengths, block_size))

    ends = np.cumsum(lengths)
    owner = np.repeat(np.arange(len(chunks)), lengths)
    positions = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    blocks = spans.block_tables[owner, positions // block_size]
    offsets = positions % block_size

    sampled = np.flatnonzero([chunk.sampled for chunk in chunks])
    sampled_rows = ends[sampled] - 1
    all_rows = len(sampled_rows) == ends[-1]
    flat = chain.from_iterable(chunk.token_ids for chunk in chunks)
    token_ids = np.fromiter(flat, dtype=np.int64, count=ends[-1])
    return PackedBatch(
        token_ids=_tensor(token_ids, device),
        positions=_tensor(positions, device),
        write_rows=_tensor(_write_rows(blocks, offsets, block_size, num_kv_heads), device),
        spans=spans,
        last_spans=spans if all_rows else spans.last_queries(sampled),
        sampled_rows=None if all_rows else _tensor(sampled_rows, device),
        fresh_blocks=blocks[offsets == 0].tolist(),
    )


def _pad_tables(chunks: Sequence[Chunk], contexts: Ints, block_size: int) -> Ints:
    num_blocks = (-(-contexts // block_size)).tolist()
    width = max(num_blocks)
    tables = np.empty((len(chunks), width), dtype=np.int64)
    for row, chunk, count in zip(tables, chunks, num_blocks, strict=True):
        row[:count] = chunk.block_table[:count]
        row[count:] = row[count - 1]
    return tables


def _write_rows(blocks: Ints, offsets: Ints, block_size: int, num_kv_heads: int) -> Ints:
    """Rows of the cache seen as [num_blocks * 2 * num_kv_heads * block_size, head_dim]."""
    pieces = blocks[:, None] * (2 * num_kv_heads) + np.arange(2 * num_kv_heads)
    return pieces * block_size + offsets[:, None]


def _tensor(array: Ints, device: str | torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor if device == "cpu" else tensor.to(device)
