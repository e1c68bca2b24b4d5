"""Between processes on one machine: the receiver reads the sender's cache where it lies, and copies once."""

from __future__ import annotations

from torch import Tensor

from course.engine.transfer.carrier import KVTransfer, copy_blocks
from course.engine.workers.messages import Piece
from course.model.kv_cache import KVCache


class SharedMemory(KVTransfer):
    """Every cache is mapped into every worker once; a move is a copy from one mapping to another.

    Nothing is allocated for a move, and the sender, who computes the next prompt meanwhile, does nothing at all.
    """

    def __init__(self, number: int, cache: KVCache, rendezvous: str = "") -> None:
        super().__init__(number, cache, rendezvous)
        self._blocks: dict[int, Tensor] = {}

    def map(self, peer: int, blocks: Tensor) -> None:
        """See KVTransfer."""
        self._blocks[peer] = blocks

    def part(self, peer: int) -> None:
        """See KVTransfer."""
        self._blocks.pop(peer, None)

    def pull(self, peer: int, piece: Piece) -> None:
        """See KVTransfer."""
        copy_blocks(self._blocks[peer], self.cache.blocks, piece)
