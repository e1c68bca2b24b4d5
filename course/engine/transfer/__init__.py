"""Keys and values move between workers.

``carrier``        KVTransfer: the interface of all carriers, as a worker sees it
``shared_memory``  between processes on one machine
``traffic``        the engine's end: which piece moves when, and what is told to the control plane
``link``           a slower link than the real one
``record``         what is kept of every move
"""

from __future__ import annotations

from course.engine.transfer.carrier import KVTransfer
from course.engine.transfer.shared_memory import SharedMemory
from course.errors import UserError
from course.model.kv_cache import KVCache

CARRIERS: dict[str, type[KVTransfer]] = {"shared-memory": SharedMemory}


def carrier_class(name: str) -> type[KVTransfer]:
    """The carrier of that name. Raises UserError for an unknown one, naming what is known."""
    if name not in CARRIERS:
        raise UserError(f"unknown carrier {name!r}; choose one of: {', '.join(CARRIERS)}")
    return CARRIERS[name]


def make_carrier(name: str, number: int, cache: KVCache) -> KVTransfer:
    """The carrier of the worker with that number."""
    return carrier_class(name)(number, cache)
