"""Through torch.distributed: between any two processes, also of different machines.

Two workers that exchange blocks form a group of two of their own, made when they first need it. So a worker that is
lost takes no other pair with it, and one that is started again simply makes new groups.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from course.engine.transfer.carrier import KVTransfer
from course.engine.workers.messages import Piece
from course.model.kv_cache import KVCache

TIMEOUT = timedelta(seconds=8)  # of one piece, or of making a connection
CONNECT_TIMEOUT = timedelta(seconds=5)  # once both ends are there
LOOK_UP = timedelta(seconds=0.2)  # how often one who waits for the other looks whether that one is gone


class ProcessGroups(KVTransfer):
    """Blocks are gathered into a buffer, sent as one message, and scattered at the other end. Buffers are kept."""

    def __init__(self, number: int, cache: KVCache, rendezvous: str = "") -> None:
        super().__init__(number, cache, rendezvous)
        self._groups: dict[int, Any] = {}
        self._gone: set[int] = set()
        self._buffer = torch.empty(0, dtype=cache.blocks.dtype, device=cache.blocks.device)

    def notice(self, peer: int) -> None:
        """See KVTransfer."""
        self._gone.add(peer)

    def part(self, peer: int) -> None:
        """See KVTransfer."""
        self._groups.pop(peer, None)

    def pull(self, peer: int, piece: Piece) -> None:
        """See KVTransfer."""
        buffer = self._room(piece)
        with self._group(peer, piece) as (group, rank):
            group.recv([buffer], 1 - rank, 0).wait()
        self._blocks(piece)[:, self._index(piece.targets)] = buffer

    def push(self, peer: int, piece: Piece) -> None:
        """See KVTransfer."""
        buffer = self._room(piece)
        torch.index_select(self._blocks(piece), 1, self._index(piece.sources), out=buffer)
        with self._group(peer, piece) as (group, rank):
            group.send([buffer], 1 - rank, 0).wait()
        self._settle()

    def make_group(self, store: dist.Store, rank: int) -> Any:
        """A group of two."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Return when the buffer may be used again."""

    @contextmanager
    def _group(self, peer: int, piece: Piece) -> Iterator[tuple[Any, int]]:
        """The group with a peer and one's rank in it; made by both ends for the same piece, so neither waits for long.

        After an error both ends give it up, and the next move makes another.
        """
        rank = int(self.number > peer)
        if peer not in self._groups:
            name = f"{min(self.number, peer)}-{max(self.number, peer)}-{piece.transfer}"
            self._groups[peer] = self.make_group(self._meet_at(name, peer, rank), rank)
        try:
            yield self._groups[peer], rank
        except RuntimeError:
            self._groups.pop(peer, None)
            raise

    def _meet_at(self, name: str, peer: int, rank: int) -> dist.Store:
        """Where the two of a group tell each other their addresses, once both are there."""
        host, _, port = self.rendezvous.rpartition(":")
        own = dist.TCPStore(host, int(port), is_master=False, timeout=CONNECT_TIMEOUT)
        store = dist.PrefixStore(name, own)
        store.set(f"here-{rank}", "")
        end_s = time.monotonic() + TIMEOUT.total_seconds()
        while peer not in self._gone and time.monotonic() < end_s:
            with contextlib.suppress(dist.DistStoreError):
                store.wait([f"here-{1 - rank}"], LOOK_UP)
                return store
        raise RuntimeError(f"worker {peer} is gone")

    def _blocks(self, piece: Piece) -> Tensor:
        return self.cache.blocks[piece.first_layer : piece.last_layer]

    def _room(self, piece: Piece) -> Tensor:
        """The buffer, in the shape of a piece."""
        shape = list(self._blocks(piece).shape)
        shape[1] = len(piece.sources)
        num = torch.Size(shape).numel()
        if self._buffer.numel() < num:
            self._buffer = torch.empty(num, dtype=self.cache.blocks.dtype, device=self.cache.blocks.device)
        return self._buffer[:num].view(shape)

    def _index(self, blocks: list[int]) -> Tensor:
        return torch.tensor(blocks, device=self.cache.blocks.device)


class Gloo(ProcessGroups):
    """Over TCP, between CPUs. The engine's workers listen on the loopback interface only."""

    def make_group(self, store: dist.Store, rank: int) -> Any:
        """See ProcessGroups."""
        options = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        options._timeout = TIMEOUT
        options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
        return dist.ProcessGroupGloo(store, rank, 2, options)


class Nccl(ProcessGroups):
    """Between GPUs that are not the same one, over NVLink, PCIe or the network, as NCCL finds best."""

    def make_group(self, store: dist.Store, rank: int) -> Any:
        """See ProcessGroups."""
        torch.cuda.set_device(self.cache.blocks.device)
        options = dist.ProcessGroupNCCL.Options()
        options._timeout = TIMEOUT
        return dist.ProcessGroupNCCL(store, rank, 2, options)

    def pull(self, peer: int, piece: Piece) -> None:
        """See KVTransfer."""
        super().pull(peer, piece)
        self._settle()

    def _settle(self) -> None:
        torch.cuda.current_stream(self.cache.blocks.device).synchronize()
