"""Between processes on GPUs of one machine: the receiver reads the sender's cache where it lies, by the GPU alone.

A CUDA IPC handle lets another process map the same device memory. Between two GPUs the copy goes over NVLink or PCIe
(peer access), on one GPU through its memory. The handles are the driver's own (CUDA driver API, section 6.13, Memory
Management): they need no file and leave none.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import torch
from torch import Tensor

from course.engine.transfer.carrier import KVTransfer, copy_blocks
from course.engine.workers.messages import Piece
from course.model.kv_cache import KVCache

_LAZY_PEER_ACCESS = 1  # CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS
_PLACE = struct.Struct("<Qi")  # bytes from the start of the allocation, device


class _Handle(ctypes.Structure):
    _fields_ = (("reserved", ctypes.c_ubyte * 64),)


class CudaIpc(KVTransfer):
    """Every cache is mapped into every worker once; a move is a copy between two places of device memory."""

    def __init__(self, number: int, cache: KVCache, rendezvous: str = "") -> None:
        super().__init__(number, cache, rendezvous)
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._blocks: dict[int, Tensor] = {}
        self._mapped: dict[int, int] = {}
        self._stream = torch.cuda.Stream(cache.blocks.device)

    def offer(self) -> bytes:
        """The handle of the allocation that the cache lies in, how far in, and on which device."""
        pointer, base, handle = self.cache.blocks.data_ptr(), ctypes.c_uint64(), _Handle()
        size = ctypes.c_size_t()
        self._call("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), ctypes.c_uint64(pointer))
        self._call("cuIpcGetMemHandle", ctypes.byref(handle), ctypes.c_uint64(pointer))
        device = self.cache.blocks.device.index or 0
        return _PLACE.pack(pointer - base.value, device) + bytes(handle.reserved)

    def meet(self, peer: int, offer: bytes, num_blocks: int) -> None:
        """See KVTransfer."""
        torch.cuda.set_device(self.cache.blocks.device)
        torch.cuda.current_stream().synchronize()  # so that this thread has the device's context
        offset, device = _PLACE.unpack(offer[: _PLACE.size])
        handle, base = _Handle((ctypes.c_ubyte * 64)(*offer[_PLACE.size :])), ctypes.c_uint64()
        self._call("cuIpcOpenMemHandle_v2", ctypes.byref(base), handle, ctypes.c_uint(_LAZY_PEER_ACCESS))
        self._mapped[peer] = base.value
        self._blocks[peer] = self._view(base.value + offset, device, num_blocks)

    def part(self, peer: int) -> None:
        """See KVTransfer."""
        if self._blocks.pop(peer, None) is not None:
            self._call("cuIpcCloseMemHandle", ctypes.c_uint64(self._mapped.pop(peer)))

    def pull(self, peer: int, piece: Piece) -> None:
        """See KVTransfer."""
        with torch.cuda.stream(self._stream):
            copy_blocks(self._blocks[peer], self.cache.blocks, piece)
            self._stream.synchronize()

    def _view(self, pointer: int, device: int, num_blocks: int) -> Tensor:
        """Device memory as blocks, shaped as in `KVCache`."""
        blocks = self.cache.blocks
        shape = list(blocks.shape)
        shape[1] = num_blocks
        num_bytes = torch.Size(shape).numel() * blocks.element_size()

        class Memory:
            __cuda_array_interface__ = {  # noqa: RUF012
                "data": (pointer, False), "shape": (num_bytes,), "typestr": "|u1", "version": 3,
            }  # fmt: skip

        memory: Tensor = torch.as_tensor(Memory(), device=f"cuda:{device}")  # its own device: a view, no copy
        return memory.view(blocks.dtype).view(shape)

    def _call(self, name: str, *arguments: Any) -> None:
        if error := getattr(self._driver, name)(*arguments):
            raise RuntimeError(f"{name} returned CUDA error {error}")
