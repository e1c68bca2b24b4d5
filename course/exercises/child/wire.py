"""Plain data over a socket: the only thing that passes between the judge and a learner's code.

No pickle: reading a frame can build numbers, text, bytes, lists, tuples, dicts, sets, numpy arrays and torch tensors,
and nothing else. Whatever is none of these arrives as a ``Foreign``, which only knows the name of its type.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 64 << 20
MOST_TREE_BYTES = 4 << 20
MOST_KEYS = 20_000
"""Of a dict or set: keys can be made to collide, and then each new one costs as much as all before."""

DEEPEST = 40
ARRAY_KINDS = "biufc"


class GarbledError(Exception):
    """What came over the socket is not a frame."""


class LateError(Exception):
    """No whole frame came in the time allowed."""


@dataclass(frozen=True)
class Foreign:
    """Stands for a value that is not plain data."""

    type_name: str

    def __repr__(self) -> str:
        return f"<{self.type_name} object>"


def pack(value: Any) -> bytes:
    """One frame: two lengths, a tree as JSON, and the bytes of arrays behind it."""
    blobs: list[bytes] = []
    tree = _encode(value, blobs, 0)
    head = json.dumps({"tree": tree, "sizes": [len(blob) for blob in blobs]}).encode()
    body = b"".join(blobs)
    if len(body) > MOST_BYTES or len(head) > MOST_TREE_BYTES:
        raise ValueError("too many items" if len(body) <= MOST_BYTES else f"more than {MOST_BYTES >> 20} MiB of data")
    return struct.pack(">II", len(head), len(body)) + head + body


def unpack(head: bytes, body: bytes) -> Any:
    """The value that ``pack`` was given, in fresh objects."""
    try:
        frame = json.loads(head)
        blobs, start = [], 0
        for size in frame["sizes"]:
            blobs.append(body[start : start + size])
            start += size
        return _decode(frame["tree"], blobs)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, AttributeError) as error:
        raise GarbledError(str(error)) from error


def send(sock: socket.socket, value: Any) -> None:
    """Write one frame."""
    sock.sendall(pack(value))


def receive(sock: socket.socket, seconds: float | None = None) -> Any:
    """Read one frame; ``EOFError`` where the other side is gone, ``LateError`` after so many seconds."""
    deadline = None if seconds is None else time.monotonic() + seconds
    head_size, body_size = struct.unpack(">II", _exactly(sock, 8, deadline))
    if body_size > MOST_BYTES or head_size > MOST_TREE_BYTES:
        raise GarbledError("a frame too large")
    return unpack(_exactly(sock, head_size, deadline), _exactly(sock, body_size, deadline))


def _exactly(sock: socket.socket, size: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LateError
            sock.settimeout(left)
        try:
            part = sock.recv(min(size, 1 << 20))
        except TimeoutError:
            raise LateError from None
        except ConnectionError:
            raise EOFError from None
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _encode(value: Any, blobs: list[bytes], depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float, str)) and _is_numpy(value) is None:
        return _scalar(value)
    if depth > DEEPEST:
        return {"o": "too deeply nested"}
    if isinstance(value, (list, tuple)):
        return {"l" if isinstance(value, list) else "t": [_encode(item, blobs, depth + 1) for item in value]}
    if isinstance(value, dict):
        return {"d": [[_encode(k, blobs, depth + 1), _encode(v, blobs, depth + 1)] for k, v in value.items()]}
    if isinstance(value, (set, frozenset)):
        return {"s": [_encode(item, blobs, depth + 1) for item in sorted(value, key=repr)]}
    if isinstance(value, (bytes, bytearray)):
        blobs.append(bytes(value))
        return {"b": len(blobs) - 1}
    return _encode_array(value, blobs) or {"o": _type_name(value)}


def _scalar(value: int | float | str) -> Any:
    """A number or text, free of whatever a subclass adds."""
    if isinstance(value, int):
        plain = int(value)
        return plain if plain.bit_length() < 10_000 else {"o": "int of more than 10,000 bits"}
    return float(value) if isinstance(value, float) else str.__str__(value).encode("utf-8", "replace").decode()


def _encode_array(value: Any, blobs: list[bytes]) -> Any:
    numpy, torch = _is_numpy(value), sys.modules.get("torch")
    if numpy is not None:
        array = numpy.asarray(value)
        if array.dtype.kind not in ARRAY_KINDS:
            return {"o": f"numpy array of {array.dtype}"}
        blobs.append(array.tobytes())
        tag = "a" if isinstance(value, numpy.ndarray) else "n"
        return {tag: [array.dtype.newbyteorder("=").str, list(array.shape), len(blobs) - 1]}
    if torch is not None and isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        blobs.append(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
        return {"x": [str(value.dtype).removeprefix("torch."), list(value.shape), len(blobs) - 1]}
    return None


def _is_numpy(value: Any) -> Any:
    """The numpy module if it is loaded and the value is its array or scalar."""
    numpy = sys.modules.get("numpy")
    return numpy if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)) else None


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if isinstance(kind.__name__, str) else "unknown"


def _decode(tree: Any, blobs: list[bytes]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((tag, inner),) = tree.items()
    if tag in "ds" and len(inner) > MOST_KEYS:
        raise GarbledError(f"a collection of {len(inner)} keys")
    match tag:
        case "l":
            return [_decode(item, blobs) for item in inner]
        case "t":
            return tuple(_decode(item, blobs) for item in inner)
        case "d":
            return {_decode(key, blobs): _decode(item, blobs) for key, item in inner}
        case "s":
            return {_decode(item, blobs) for item in inner}
        case "b":
            return blobs[inner]
        case "a" | "n":
            array = _array(inner[0], inner[1], blobs[inner[2]])
            return array if tag == "a" else array[()]
        case "x":
            return _tensor(inner[0], inner[1], blobs[inner[2]])
        case "o":
            return Foreign(str(inner)[:80])
    raise GarbledError(f"an unknown tag {tag!r}")


def _array(dtype: str, shape: list[int], blob: bytes) -> Any:
    import numpy

    kind = numpy.dtype(dtype)
    if kind.kind not in ARRAY_KINDS:
        raise GarbledError(f"an array of {dtype}")
    return numpy.frombuffer(blob, kind).reshape(shape).copy()


def _tensor(dtype: str, shape: list[int], blob: bytes) -> Any:
    import torch

    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise GarbledError(f"a tensor of {dtype}")
    if not blob:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(blob), dtype=torch.uint8).view(kind).reshape(shape)
