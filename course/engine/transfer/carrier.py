"""The interface of all carriers of keys and values, as a worker sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from course.engine.workers.messages import Piece
from course.model.kv_cache import KVCache


class KVTransfer(ABC):
    """Moves blocks between this worker's cache and those of others, which are known by their numbers.

    All is called from one thread, in the order in which the engine asks, which is an order common to all workers: so
    carriers that need both ends at once cannot wait for each other in a circle. A move that fails raises RuntimeError,
    and the engine tries again. `pull` returns when the piece has arrived.
    """

    def __init__(self, number: int, cache: KVCache, rendezvous: str = "") -> None:
        self.number = number
        self.cache = cache
        self.rendezvous = rendezvous  # host and port of the engine's store, where workers find each other

    def offer(self) -> bytes:
        """What others need to know to reach this cache."""
        return b""

    def map(self, peer: int, blocks: Tensor) -> None:
        """Another worker's blocks lie in this process's address space; comes from the thread that reads."""
        raise RuntimeError("this carrier shares no memory")

    def meet(self, peer: int, offer: bytes, num_blocks: int) -> None:
        """Another worker is there; this is its offer, and so large is its cache."""
        return

    def notice(self, peer: int) -> None:  # noqa: B027
        """That worker is gone: give up waiting for it. Comes from the thread that reads, before `part`."""

    def part(self, peer: int) -> None:
        """That worker is gone."""
        return

    @abstractmethod
    def pull(self, peer: int, piece: Piece) -> None:
        """Bring a piece from the peer's cache into one's own."""

    def push(self, peer: int, piece: Piece) -> None:
        """Send a piece that the peer pulls; only where both ends must lend a hand."""
        raise RuntimeError("this carrier needs no push")


def copy_blocks(source: Tensor, target: Tensor, piece: Piece) -> None:
    """Copy a piece between two caches' blocks [layers, blocks, ...]: neighbours that stay neighbours in one go."""
    layers = slice(piece.first_layer, piece.last_layer)
    start = 0
    for end in range(1, len(piece.sources) + 1):
        if end < len(piece.sources) and _continues(piece, end):
            continue
        s, t, length = piece.sources[start], piece.targets[start], end - start
        target[layers, t : t + length].copy_(source[layers, s : s + length])
        start = end


def _continues(piece: Piece, i: int) -> bool:
    return piece.sources[i] == piece.sources[i - 1] + 1 and piece.targets[i] == piece.targets[i - 1] + 1
