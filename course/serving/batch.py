"""What the control plane tells a data plane to run, in plain integers.

A data plane (the engine or the simulator) carries out a `Batch` in this order:

1. ``swap_out``: copy KV blocks from the device to host memory,
2. ``copies``: copy KV blocks on the device (copy-on-write),
3. ``swap_in``: copy KV blocks from host memory to the device,
4. ``chunks``: one forward pass over all chunks packed together; a token is sampled for
   every chunk whose ``samples`` is not empty.

It answers with a `TokenResult` for each token that was sampled.
"""

from __future__ import annotations

from collections.abc import Sequence as List
from typing import NamedTuple

from course.serving.sequence import Sequence


class ScheduledChunk(NamedTuple):
    """``num_tokens`` tokens of one sequence, starting at position ``start``.

    ``start`` counts the tokens whose keys and values are already in the cache, so the chunk's
    queries attend to positions 0 .. start + num_tokens - 1 (causally within the chunk).
    ``block_table[i]`` holds positions i * block_size .. (i + 1) * block_size - 1; in `Batch.chunks` it covers
    every position up to the end of the chunk. It is the sequence's live list: read it while
    the batch runs and do not keep it.
    ``samples`` names the sequences that sample a token from the last position: none inside a
    prompt, the sequence itself in general, and all n siblings when a prompt with n > 1 ends.
    """

    sequence: Sequence
    start: int
    num_tokens: int
    block_table: list[int]
    samples: tuple[Sequence, ...]


class BlockCopy(NamedTuple):
    """Copy the keys and values of block ``source`` to block ``target`` in every layer."""

    source: int
    target: int


class Batch:
    """One step of one instance. ``step`` numbers the steps of that instance from 0.

    The chunks are ``prompts`` (whatever is not a decode step) and one token for each of ``decodes``.
    ``holds`` is a permission to run the batch that many times in a row, each time one token further, before its end is
    reported; a data plane that reports after one step is always right, and one that runs several reports, at the
    latest, when the first answer ends.
    """

    swap_out: List[BlockCopy] = ()
    copies: List[BlockCopy] = ()
    swap_in: List[BlockCopy] = ()
    holds: int = 1
    # for those who count many steps at once:
    only_decodes: bool = False  # nothing is computed or copied besides the decodes
    ticks: bool = False  # the decodes are all that decode on the instance, and its clock counts their steps
    fresh: List[Sequence] = ()  # those of the decodes that were not in the last batch that ticked
    leaving: List[Sequence] = ()  # ended while the batch was still writing their blocks

    def __init__(
        self,
        instance_id: int,
        step: int,
        prompts: List[ScheduledChunk] = (),
        decodes: tuple[Sequence, ...] = (),
        num_decode_context_tokens: int = 0,
    ) -> None:
        self.instance_id = instance_id
        self.step = step
        self.prompts = prompts
        self.decodes = decodes
        self.num_decode_context_tokens = num_decode_context_tokens  # tokens in the cache before the (first) step

    @property
    def chunks(self) -> list[ScheduledChunk]:
        """All chunks, decodes first. Positions are those of the step that runs now."""
        for sequence in [*(chunk.sequence for chunk in self.prompts), *self.decodes]:
            sequence._clock.name_blocks(sequence)
        decodes = [ScheduledChunk(s, s.num_computed_tokens, 1, s._block_table, (s,)) for s in self.decodes]
        return [*decodes, *self.prompts]

    @property
    def num_decodes(self) -> int:
        """Sequences that decode in this batch."""
        return len(self.decodes)

    @property
    def num_tokens(self) -> int:
        """Tokens computed by one forward pass."""
        return len(self.decodes) + sum([chunk.num_tokens for chunk in self.prompts])

    @property
    def sequences(self) -> list[Sequence]:
        """The sequences that have a chunk."""
        return [*self.decodes, *(chunk.sequence for chunk in self.prompts)]


class TokenResult(NamedTuple):
    """One sampled token, as far as the control plane needs to know it.

    It may be left out where there is nothing to say: the answer goes on, and there is no hash.

    ``finished`` says that the answer ends with this token (end-of-sequence, or the length
    that a trace dictates). ``block_hash`` is the chained hash of the block that this token
    completes, where the data plane wants generated tokens to be found by later prompts.
    """

    sequence: Sequence
    finished: bool = False
    block_hash: int | None = None
