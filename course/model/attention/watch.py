"""What an attention really reads and keeps, whoever wrote it: pieces of queries and keys, and memory.

It looks at each function of torch that is called while it is entered. What happens inside of one is not seen: a
function that takes all keys has read all of them, and memory that it takes and gives back does not count.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor
from torch.overrides import TorchFunctionMode


class Read(NamedTuple):
    """Keys are read, for some queries: rows of each, as (first, behind the last)."""

    queries: tuple[int, int]
    keys: tuple[int, int]


class AttentionWatch(TorchFunctionMode):
    """Notes what becomes of ``queries`` and ``keys``, both contiguous [tokens, head_dim].

    ``reads`` has each read of keys, in order, with the queries that were read last; ``most_at_once`` the most rows of
    keys, and of queries, that one function takes; ``peak_bytes`` the most memory that tensors made meanwhile hold at
    the same time.
    """

    def __init__(self, queries: Tensor | None = None, keys: Tensor | None = None) -> None:
        super().__init__()
        self.watched = {"queries": queries, "keys": keys}
        self.reads: list[Read] = []
        self.most_at_once = {"queries": 0, "keys": 0}
        self.peak_bytes = 0
        self._queries = (0, 0)
        self._bytes = 0
        self._known: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at what goes in and at what comes out."""
        inputs = list(tensors_in((args, kwargs or {})))
        result = func(*args, **(kwargs or {}))
        known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
        made = [tensor for tensor in tensors_in(result) if tensor.untyped_storage().data_ptr() not in known]
        if made:  # else it is a view, or a question such as the shape
            self._note_reads(inputs)
            for tensor in made:
                self._note_memory(tensor)
        return result

    def _note_reads(self, inputs: list[Tensor]) -> None:
        spans: dict[str, tuple[int, int]] = {}
        for part, whole in self.watched.items():
            for tensor in inputs:
                span = rows_of(tensor, whole)
                if span is not None:
                    spans[part] = span
                    self.most_at_once[part] = max(self.most_at_once[part], span[1] - span[0])
        self._queries = spans.get("queries", self._queries)
        if "keys" in spans:
            read = Read(self._queries, spans["keys"])
            if self.reads[-1:] != [read]:  # several operations on the same piece: it is there already
                self.reads.append(read)

    def _note_memory(self, made: Tensor) -> None:
        storage = made.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if not size or address in self._known:
            return
        self._known.add(address)
        self._bytes += size
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._bytes -= size


def tensors_in(thing: Any) -> Iterator[Tensor]:
    """Tensors in nested lists, tuples and dictionaries."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            yield from tensors_in(part)
    elif isinstance(thing, dict):
        yield from tensors_in(list(thing.values()))


def rows_of(tensor: Tensor, whole: Tensor | None) -> tuple[int, int] | None:
    """Which rows of ``whole`` [tokens, width] a view of it holds; None for a tensor that is no view of it."""
    if whole is None or not tensor.numel():
        return None
    if tensor.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr():
        return None
    width = whole.shape[1]
    first = (tensor.storage_offset() - whole.storage_offset()) // width
    last = tensor.storage_offset() + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return first, (last - whole.storage_offset()) // width + 1
