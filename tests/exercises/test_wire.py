"""What passes over the socket, and what does not."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from course.exercises.child.wire import Foreign, GarbledError, pack, unpack


def there_and_back(value: object) -> object:
    frame = pack(value)
    head, _ = struct.unpack(">II", frame[:8])
    return unpack(frame[8 : 8 + head], frame[8 + head :])


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -(10**30),
        0.1,
        float("inf"),
        "é\n",
        b"\0a",
        [1, (2, [3])],
        {"a": {1: (2,)}, (1, 2): 3},
        {1, 2},
        [],
    ],
)
def test_plain_data(value: object) -> None:
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float16", "float32", "float64", "complex64"])
def test_arrays(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    back = there_and_back([array[:, ::-1]])[0]
    assert back.dtype == array.dtype
    assert (back == array[:, ::-1]).all()
    assert there_and_back(np.zeros((0, 3))).shape == (0, 3)
    assert there_and_back(np.float32(0.5)) == np.float32(0.5)


def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        tensor = torch.arange(6).reshape(2, 3).to(dtype).T
        assert torch.equal(there_and_back(tensor), tensor)
    assert there_and_back(torch.zeros(2, 0)).shape == (2, 0)
    assert there_and_back(torch.tensor(1.5, requires_grad=True)).item() == 1.5


def test_what_is_not_plain_arrives_as_its_name() -> None:
    loop: list = []
    loop.append(loop)
    assert there_and_back(object()) == Foreign("object")
    assert there_and_back(np.array([object()])) == Foreign("numpy array of object")
    assert there_and_back(i for i in ()) == Foreign("generator")
    assert "too deeply nested" in str(there_and_back(loop))
    assert isinstance(there_and_back(1 << 20_000), Foreign)
    with pytest.raises(ValueError, match="too many items"):
        pack([0] * 3_000_000)
    with pytest.raises(GarbledError, match="keys"):
        there_and_back(dict.fromkeys(range(30_000)))


@pytest.mark.parametrize(
    "tree",
    [
        {"a": ["O", [1], 0]},
        {"a": ["f8", [10**9], 0]},
        {"x": ["load", [1], 0]},
        {"z": 1},
        {"l": 5},
        {"d": [[{"l": []}, 1]]},
        {"b": 7},
    ],
)
def test_forged_frames_build_nothing(tree: object) -> None:
    head = json.dumps({"tree": tree, "sizes": [8]}).encode()
    with pytest.raises(GarbledError):
        unpack(head, b"\0" * 8)
