"""The tiny model, with attention in pieces: prompts tile by tile, decode steps in parts of the paged cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from course.engine.local import LocalEngine
from course.model.kv_cache import KVCache
from course.model.loading import Model, load_model
from course.model.packing import Chunk, Spans, pack

Tiled = Callable[[Tensor, Tensor, Tensor, int], Tensor]
Merge = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@cache
def tiny() -> Model:
    """The tiny model in double precision: sums in another order change its scores in the fifteenth digit."""
    return load_model("tiny", dtype="float64")


class InPieces:
    """An attention for the engine (see `course.model.attention`) that is made of two functions of the learner.

    A whole prompt goes through ``tiled_attention``, head by head. A decode step cuts the sequence's cache into
    ``num_parts``, attends to each part by itself, and puts the results together by ``merge``.
    """

    def __init__(self, tiled_attention: Tiled, merge: Merge, tile: int = 32, num_parts: int = 2) -> None:
        self.tiled_attention, self.merge = tiled_attention, merge
        self.tile, self.num_parts = tile, num_parts
        self.num_tiled = self.num_merged = 0

    def plan(self, spans: Spans, cache: KVCache) -> Spans:
        """Nothing to prepare."""
        return spans

    def __call__(self, queries: Tensor, cache: KVCache, layer: int, plan: Spans) -> Tensor:
        """Queries [T, heads, head_dim] to outputs [T, heads * head_dim]."""
        outputs, row = [], 0
        for start, length, table in zip(plan.starts, plan.lengths, plan.block_tables, strict=True):
            mine = queries[row : row + length]
            keys, values = stored(cache, layer, table, start + length)
            if start == 0 and length > 1:
                outputs.append(self._prompt(mine, keys, values))
            else:
                ends = range(start + 1, start + length + 1)
                outputs += [self._token(query, keys[:, :n], values[:, :n]) for query, n in zip(mine, ends, strict=True)]
            row += length
        return torch.cat([output.reshape(-1, queries[0].numel()) for output in outputs])

    def _prompt(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        share = queries.shape[1] // len(keys)
        each = [
            self.tiled_attention(queries[:, head].contiguous(), keys[head // share], values[head // share], self.tile)
            for head in range(queries.shape[1])
        ]
        self.num_tiled += len(each)
        return torch.stack(each, dim=1)

    def _token(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """One query [heads, head_dim]; heads are the rows that are merged."""
        size = -(-keys.shape[1] // self.num_parts)
        parts = [part_of(query, *part) for part in zip(keys.split(size, 1), values.split(size, 1), strict=True)]
        output, lse = parts[0]
        for more in parts[1:]:
            output, lse = self.merge(output, lse, *more)
            self.num_merged += 1
        return output


def part_of(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of one token over some keys [KV heads, tokens, head_dim]: outputs [heads, head_dim] and log-sum-exp."""
    grouped = query.view(len(keys), -1, query.shape[-1])
    scores = grouped @ keys.transpose(1, 2) / query.shape[-1] ** 0.5
    return (scores.softmax(-1) @ values).flatten(0, 1), scores.logsumexp(-1).flatten()


def stored(cache: KVCache, layer: int, table: Sequence[int], num_tokens: int) -> tuple[Tensor, Tensor]:
    """Keys and values [KV heads, tokens, head_dim] of a sequence, collected through its block table."""
    num_blocks = -(-num_tokens // cache.block_size)
    both = cache.blocks[layer, list(table[:num_blocks])].permute(1, 2, 0, 3, 4).flatten(2, 3)
    return both[0, :, :num_tokens], both[1, :, :num_tokens]


@contextmanager
def attending(model: Model, attention: InPieces | None) -> Iterator[None]:
    """The model with another attention for a while; None leaves its own."""
    own = model.network.attention
    model.network.attention = attention or own
    try:
        yield
    finally:
        model.network.attention = own


def next_logits(tokens: Sequence[int], attention: InPieces | None = None) -> Tensor:
    """Logits behind a text whose last token is decoded: all others are in the paged cache by then."""
    network = tiny().network
    cache = network.new_cache(-(-len(tokens) // 16) + 3, 16)
    table = list(reversed(range(3, cache.num_blocks)))
    with attending(tiny(), attention):
        for start, end in ((0, len(tokens) - 1), (len(tokens) - 1, len(tokens))):
            chunk = Chunk(tokens[start:end], start, table)
            logits = network.forward(pack([chunk], 16, cache.num_kv_heads), cache)
    return logits[0]


def write(prompt: str, num_tokens: int, attention: InPieces | None = None) -> list[int]:
    """Tokens that the engine writes behind a prompt."""
    with attending(tiny(), attention):
        engine = LocalEngine(tiny(), "prefill-first", num_blocks=64)
        [answer] = engine.submit(prompt, num_tokens, ignore_end=True)
        while engine.num_unfinished:
            engine.step()
    return answer.tokens
