"""The tokens of all sequences: batches become steps in plain numbers, and what they sample comes back here.

The control plane says which tokens of which sequence to compute; it never sees a token. An executor sees tokens and
blocks, and knows of no sequence. Texts stand between the two, in the process of the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from course.engine.sampling import GREEDY, Draw, Sampling
from course.model.packing import Chunk
from course.serving.batch import Batch, BlockCopy, ScheduledChunk, TokenResult
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

    @property
    def result(self) -> TokenResult:
        """As much of it as the control plane is told."""
        return TokenResult(self.sequence, self.finished, self.block_hash)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step in plain numbers, ready to cross to another process.

    First the block copies, in the order of `course.serving.batch`; then one forward pass over ``chunks``; then one
    token for each of ``draws``, whose rows count the chunks that are sampled.
    """

    swap_out: Sequence[BlockCopy] = ()
    copies: Sequence[BlockCopy] = ()
    swap_in: Sequence[BlockCopy] = ()
    chunks: list[Chunk] = field(default_factory=list)
    draws: list[Draw] = field(default_factory=list)


class Planned(NamedTuple):
    """A step, and the sequences that its draws are for, with the one whose text each goes on from."""

    step: Step
    owners: list[tuple[ServedSequence, ServedSequence]]


class Texts(dict[SequenceId, Text]):
    """The texts of all sequences that have not ended.

    ``hash_blocks`` names the blocks that answers complete, so that later prompts find them.
    """

    def __init__(self, block_size: int, hash_blocks: bool = False) -> None:
        super().__init__()
        self.block_size = block_size
        self.hash_blocks = hash_blocks

    def plan(self, batch: Batch) -> Planned:
        """The batch as a step. Sequences that have ended are left out."""
        # Decodes first, by growing context: neighbours then attend together with little padding.
        chunks = sorted((chunk for chunk in batch.chunks if not chunk.sequence.is_ended), key=_by_shape)
        draws: list[Draw] = []
        owners: list[tuple[ServedSequence, ServedSequence]] = []
        for row, chunk in enumerate([chunk for chunk in chunks if chunk.samples]):
            text, position = self[chunk.sequence.id], chunk.start + chunk.num_tokens
            for sequence in chunk.samples:
                if not sequence.is_ended:
                    draws.append(Draw(row, text.sampling, *sequence.id, position, text.forbidden))
                    owners.append((sequence, chunk.sequence))
        packed = [self._new_tokens(chunk) for chunk in chunks]
        return Planned(Step(batch.swap_out, batch.copies, batch.swap_in, packed, draws), owners)

    def take(self, planned: Planned, tokens: Sequence[int]) -> list[Token]:
        """Append what the step sampled, in the order of its draws; nothing for sequences that have ended meanwhile."""
        found = []
        for (sequence, parent), token in zip(planned.owners, tokens, strict=True):
            if sequence.is_ended:
                continue
            if sequence is not parent:
                self[sequence.id] = self[parent.id].fork()
            found.append((sequence, token))
        return [self.append(sequence, token) for sequence, token in found]

    def append(self, sequence: ServedSequence, token: int) -> Token:
        """Note one sampled token."""
        text = self[sequence.id]
        text.tokens.append(token)
        block_hash = None
        if self.hash_blocks and len(text.tokens) % self.block_size == 0:
            block = text.tokens[-self.block_size :]
            block_hash = text.last_block_hash = chained_hash(text.last_block_hash, block)
        return Token(sequence, token, text.ends_with(token), block_hash)

    def _new_tokens(self, chunk: ScheduledChunk) -> Chunk:
        tokens = self[chunk.sequence.id].tokens[chunk.start : chunk.start + chunk.num_tokens]
        return Chunk(tokens, chunk.start, list(chunk.block_table), bool(chunk.samples))


def _by_shape(chunk: ScheduledChunk) -> tuple[int, int]:
    return chunk.num_tokens, chunk.start
