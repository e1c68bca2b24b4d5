"""Which carrier goes with which devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from course.engine.transfer.carrier import KVTransfer
from course.errors import UserError
from course.model.kv_cache import KVCache


class Kind(NamedTuple):
    """What the engine has to know of a carrier. ``device``: "cpu" or "cuda"; ``has_own``: one each."""

    device: str
    maps_memory: bool = False
    needs_both_ends: bool = False
    has_own: bool = False


CARRIERS = {
    "shared-memory": Kind("cpu", maps_memory=True),
    "gloo": Kind("cpu", needs_both_ends=True),
    "cuda-ipc": Kind("cuda"),
    "nccl": Kind("cuda", needs_both_ends=True, has_own=True),
}


def choose_carrier(name: str | None, devices: Sequence[str]) -> str:
    """The carrier of that name, or the fastest for these devices.

    Raises UserError for an unknown one, naming what is known, and for devices that it does not reach.
    """
    if name is not None and name not in CARRIERS:
        raise UserError(f"unknown carrier {name!r}; choose one of: {', '.join(CARRIERS)}")
    kinds = {device.partition(":")[0] for device in devices}
    if len(kinds) > 1:
        raise UserError(f"no carrier goes between {' and '.join(sorted(kinds))}; give all workers devices of one kind")
    device = kinds.pop()
    if name is None:
        return "shared-memory" if device == "cpu" else "cuda-ipc"
    if CARRIERS[name].device != device:
        fitting = ", ".join(each for each, kind in CARRIERS.items() if kind.device == device)
        raise UserError(f"the carrier {name!r} does not reach workers on {device}; choose one of: {fitting}")
    if CARRIERS[name].has_own and len(set(devices)) < len(devices):
        raise UserError(f"the carrier {name!r} needs a device of its own for each worker; cuda-ipc can share one")
    return name


def make_carrier(name: str, number: int, cache: KVCache, rendezvous: str) -> KVTransfer:
    """The carrier of the worker with that number. What it needs is imported only where it is used."""
    match name:
        case "shared-memory":
            from course.engine.transfer.shared_memory import SharedMemory

            return SharedMemory(number, cache, rendezvous)
        case "cuda-ipc":
            from course.engine.transfer.cuda_ipc import CudaIpc

            return CudaIpc(number, cache, rendezvous)
        case _:
            from course.engine.transfer.process_group import Gloo, Nccl

            return (Gloo if name == "gloo" else Nccl)(number, cache, rendezvous)
