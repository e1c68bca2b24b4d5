"""Carries out batches on tensors: the one place where the control plane's integers meet the model.

The control plane says which tokens of which sequence to compute and which blocks to move; it
never sees a token. Tokens live here, one list per sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from course.engine.sampling import GREEDY, Draw, Sampling, choose
from course.model.packing import Chunk, pack
from course.model.transformer import Transformer
from course.serving.batch import Batch, BlockCopy, ScheduledChunk
from course.serving.prefix import chained_hash
from course.serving.sequence import Sequence as ServedSequence

SequenceId = tuple[int, int]  # request id, sample


@dataclass(slots=True)
class Text:
    """The tokens of one sequence, prompt first, and what decides about the next one.

    ``num_tokens_at_end`` is the length at which the sequence ends whatever it says (a trace
    dictates it), None where only the request's limit and the ``end_tokens`` end it. These do not come
    among the first ``min_new_tokens`` of the answer.
    """

    tokens: list[int]
    num_prompt_tokens: int
    sampling: Sampling = GREEDY
    num_tokens_at_end: int | None = None
    end_tokens: frozenset[int] = frozenset()
    last_block_hash: int = 0
    min_new_tokens: int = 0

    def ends_with(self, token: int) -> bool:
        """Whether the answer is over now that ``token`` was appended."""
        return token in self.end_tokens or len(self.tokens) == self.num_tokens_at_end

    @property
    def forbidden(self) -> frozenset[int]:
        """Tokens that may not come next."""
        is_early = len(self.tokens) - self.num_prompt_tokens < self.min_new_tokens
        return self.end_tokens if is_early else frozenset()

    def fork(self) -> Text:
        """A sibling that shares the prompt."""
        return replace(self, tokens=self.tokens[: self.num_prompt_tokens])


class Token(NamedTuple):
    """A token that was just sampled. ``block_hash`` as in `course.serving.batch.TokenResult`."""

    sequence: ServedSequence
    token: int
    finished: bool
    block_hash: int | None = None


class Executor:
    """One model with its cache: device blocks, host blocks to swap to, and the tokens of sequences.

    ``hash_blocks`` names the blocks that answers complete, so that later prompts find them.
    """

    def __init__(
        self,
        network: Transformer,
        num_blocks: int,
        block_size: int = 16,
        num_host_blocks: int = 0,
        hash_blocks: bool = False,
    ) -> None:
        self.network = network
        self.cache = network.new_cache(num_blocks, block_size)
        self.host_cache = network.new_cache(num_host_blocks, block_size, "cpu") if num_host_blocks else None
        self.hash_blocks = hash_blocks
        self.texts: dict[SequenceId, Text] = {}
        self._moved: Batch | None = None

    def open(self, request_id: int, text: Text) -> None:
        """Announce a request before its first batch; its further samples follow by themselves."""
        self.texts[request_id, 0] = text

    def close(self, sequence_id: SequenceId) -> Text | None:
        """Forget a sequence that has ended; returns what it said."""
        return self.texts.pop(sequence_id, None)

    def execute(self, batch: Batch) -> list[Token]:
        """Move blocks, run the forward pass, sample. One token per sequence in ``samples``."""
        self._move_blocks(batch)
        # Decodes first, by growing context: neighbours then attend together with little padding.
        chunks = sorted((chunk for chunk in batch.chunks if not chunk.sequence.is_ended), key=_by_shape)
        if not chunks:
            return []
        packed = pack(
            [self._new_tokens(chunk) for chunk in chunks],
            self.cache.block_size,
            self.cache.num_kv_heads,
            self.network.device,
        )
        logits = self.network.forward(packed, self.cache)
        return self._sample(chunks, logits)

    def _move_blocks(self, batch: Batch) -> None:
        """In the order that the contract fixes, and once, even if the forward pass is interrupted and run again."""
        if batch is self._moved:
            return
        if batch.swap_out:
            assert self.host_cache is not None
            self.host_cache.copy_from(self.cache, *_pairs(batch.swap_out))
        if batch.copies:
            self.cache.copy(*_pairs(batch.copies))
        if batch.swap_in:
            assert self.host_cache is not None
            self.cache.copy_from(self.host_cache, *_pairs(batch.swap_in))
        self._moved = batch

    def _new_tokens(self, chunk: ScheduledChunk) -> Chunk:
        tokens = self.texts[chunk.sequence.id].tokens[chunk.start : chunk.start + chunk.num_tokens]
        return Chunk(tokens, chunk.start, chunk.block_table, bool(chunk.samples))

    def _sample(self, chunks: Sequence[ScheduledChunk], logits: Tensor) -> list[Token]:
        sampling_chunks = [chunk for chunk in chunks if chunk.samples]
        draws, owners = [], []
        for row, chunk in enumerate(sampling_chunks):
            parent = self.texts[chunk.sequence.id]
            for sequence in chunk.samples:
                if sequence.is_ended:
                    continue
                text = parent
                if sequence is not chunk.sequence:
                    text = self.texts[sequence.id] = parent.fork()
                position = chunk.start + chunk.num_tokens
                draws.append(Draw(row, text.sampling, *sequence.id, position, text.forbidden))
                owners.append((sequence, text))
        return [
            self._append(sequence, text, token)
            for (sequence, text), token in zip(owners, choose(logits, draws), strict=True)
        ]

    def _append(self, sequence: ServedSequence, text: Text, token: int) -> Token:
        text.tokens.append(token)
        block_hash = None
        if self.hash_blocks and len(text.tokens) % self.cache.block_size == 0:
            block = text.tokens[-self.cache.block_size :]
            block_hash = text.last_block_hash = chained_hash(text.last_block_hash, block)
        return Token(sequence, token, text.ends_with(token), block_hash)


def _by_shape(chunk: ScheduledChunk) -> tuple[int, int]:
    return chunk.num_tokens, chunk.start


def _pairs(copies: Iterable[BlockCopy]) -> tuple[list[int], list[int]]:
    sources, targets = zip(*copies, strict=True)
    return list(sources), list(targets)
