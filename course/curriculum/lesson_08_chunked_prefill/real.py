"""The tiny model reads a prompt in chunks, and serves two readers while a long letter arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from course.engine.local import LocalEngine
from course.figures import History, WatchedCluster
from course.metrics.latency import gaps_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.model.kv_cache import KVCache
from course.model.loading import Model
from course.model.packing import Chunk, Spans, pack
from course.serving.plan import Scheduler

READERS = ("A thread is", "A list is")
READER_TOKENS = 60
LETTER = "Letter. " + "The people of the town talked about the weather. " * 70
NOTE = "Letter. " + "The people of the town talked about the weather. " * 30
BLOCK_TOKENS = 16

Mask = Callable[[int, int, int], Tensor]
"""From (start, num_tokens, num_keys) to [num_tokens, num_keys]: `chunk_mask`."""


class MaskedAttention:
    """Attention of one sequence over all the room of its cache, with a mask that says what counts."""

    needs_clean_blocks = False

    def __init__(self, mask: Mask) -> None:
        self.mask = mask

    def plan(self, spans: Spans, cache: KVCache) -> Tensor | None:
        """The mask, the same in all layers; none where nothing is sampled."""
        if not len(spans.starts):
            return None
        return self.mask(int(spans.starts[0]), int(spans.lengths[0]), cache.num_blocks * cache.block_size)

    def __call__(self, queries: Tensor, cache: KVCache, layer: int, plan: Any) -> Tensor:
        """See `course.model.attention.Attention`. The blocks of the sequence are those of the cache, in order."""
        keys, values = cache.blocks[layer].permute(1, 2, 0, 3, 4).flatten(2, 3)[:, None]
        outputs = scaled_dot_product_attention(
            queries.transpose(0, 1)[None], keys, values, attn_mask=plan, enable_gqa=True
        )
        return outputs[0].transpose(0, 1).flatten(1)


def sampled(
    model: Model, prompt: Sequence[int], cut: Sequence[tuple[int, int, bool]], mask: Mask | None = None
) -> list[int]:
    """Put a prompt through the network chunk by chunk; the likeliest token after each chunk that is sampled.

    ``cut`` has (start, number of tokens, whether to sample) of each chunk. With a ``mask``, attention looks at all the
    room of the cache, which is filled with noise at first; without, the course's own attention is used.
    """
    network, own = model.network, model.network.attention
    num_blocks = -(-len(prompt) // BLOCK_TOKENS) + 1
    cache = network.new_cache(num_blocks, BLOCK_TOKENS)
    cache.blocks.normal_(generator=torch.Generator().manual_seed(0))
    network.attention = MaskedAttention(mask) if mask else own
    found: list[int] = []
    try:
        for start, num_tokens, is_sampled in cut:
            chunk = Chunk(prompt[start : start + num_tokens], start, range(num_blocks), is_sampled)
            logits = network.forward(pack([chunk], BLOCK_TOKENS, cache.num_kv_heads), cache)
            found += logits.argmax(-1).tolist()
    finally:
        network.attention = own
    return found


class Served(NamedTuple):
    """The tokens of each answer, when they came, and what ran when. The last request is the letter."""

    tokens: list[list[int]]
    records: list[RequestRecord]
    history: History

    @property
    def reader_s(self) -> Sequence[float]:
        """When the tokens of the first reader's answer came."""
        return self.records[0].token_times_s

    @property
    def letter_ttft_s(self) -> float:
        """TTFT of the letter."""
        return ttft_s(self.records[-1]) or 0.0

    @property
    def tpot_s(self) -> float:
        """Mean TPOT of the readers."""
        return float(np.mean([tpot_s(record) or 0.0 for record in self.records[:-1]]))

    @property
    def gap_s(self) -> float:
        """The longest gap that a reader saw."""
        return max(gap for record in self.records[:-1] for gap in gaps_s(record))

    @property
    def run(self) -> tuple[list[RequestRecord], History]:
        """For a timeline."""
        return self.records, self.history


def serve(model: Model, scheduler: Scheduler, letter: str = LETTER, runs: int = 1) -> Served:
    """Two readers, then the letter; of so many runs the one that was disturbed least, for machines have neighbours."""
    served = [serve_once(model, scheduler, letter) for _ in range(runs)]
    return min(served, key=lambda one: one.letter_ttft_s + one.gap_s)


def serve_once(model: Model, scheduler: Scheduler, letter: str = LETTER) -> Served:
    """The letter comes when the first reader has a fifth of the answer."""
    engine = LocalEngine(model, scheduler, num_blocks=512, make_cluster=WatchedCluster)
    answers = [engine.submit(prompt, READER_TOKENS, ignore_end=True)[0] for prompt in READERS]
    while len(answers[0].tokens) < READER_TOKENS // 5:
        engine.advance()
    answers += engine.submit(letter, 8, ignore_end=True)
    while engine.num_unfinished:
        engine.advance()
    assert isinstance(engine.cluster, WatchedCluster)
    return Served([answer.tokens for answer in answers], engine.recorder.records, engine.cluster.history)


def say(served: Served) -> str:
    """TTFT of the letter, TPOT and the longest gap of the readers, for a table."""
    ttft_ms, tpot_ms, gap_ms = (1e3 * s for s in (served.letter_ttft_s, served.tpot_s, served.gap_s))
    return f"TTFT of the letter {ttft_ms:5,.0f} ms; readers: TPOT {tpot_ms:4.1f} ms, longest gap {gap_ms:4,.0f} ms"
