"""How many tokens fit: beside DistServe's measured table, and what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.capacity import kv_capacity, published_kv_capacity
from course.simulator.costs.distserve import published
from course.simulator.hardware import Hardware, load_hardware
from course.simulator.parallel import Split
from course.simulator.shapes import load_shape, shape_names

A100 = load_hardware("a100-80gb")
MEASURED = [
    (model, *map(int, pair.split(",")), tokens)
    for model, table in published()["kv_capacity_tokens"].items()
    for pair, tokens in table.items()
]


@pytest.mark.parametrize(("model", "tp", "pp", "tokens"), MEASURED)
def test_close_to_what_distserve_measured(model: str, tp: int, pp: int, tokens: int):
    ours = kv_capacity(load_shape(model), A100, tp, pp)
    room_bytes = 4e9 * tp * pp / load_shape(model).kv_bytes_per_token  # 4 GB of 86 per accelerator, either way
    assert abs(ours - tokens) < room_bytes
    if tokens > 150_000:
        assert ours == pytest.approx(tokens, rel=0.05)


def test_the_published_table_answers():
    assert published_kv_capacity("opt-13b") == 66_144
    assert published_kv_capacity("opt-13b", tp=2) == 163_008
    assert published_kv_capacity("opt-175b", tp=3, pp=3) == 76_192
    with pytest.raises(UserError, match=r"no KV capacity of opt-66b with \(tp, pp\) = \(1,1\); it has \(1,2\)"):
        published_kv_capacity("opt-66b")
    with pytest.raises(UserError, match="no KV capacity of 'tiny'; it has opt-13b"):
        published_kv_capacity("tiny")


@pytest.mark.parametrize(
    ("model", "hardware", "tp", "remedy"),
    [
        ("llama-3.1-70b", "a100-80gb", 1, "tp=2 or pp=2 would fit"),
        ("opt-175b", "a100-80gb", 4, "tp=6 or pp=2 would fit"),
        ("opt-13b", "l4", 1, "tp=2 or pp=2 would fit"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_what_would(model: str, hardware: str, tp: int, remedy: str):
    with pytest.raises(UserError, match=remedy) as refused:
        kv_capacity(load_shape(model), load_hardware(hardware), tp)
    named = dict(part.split("=") for part in remedy.removesuffix(" would fit").split(" or "))
    assert kv_capacity(load_shape(model), load_hardware(hardware), int(named["tp"])) > 0
    assert kv_capacity(load_shape(model), load_hardware(hardware), tp, int(named["pp"])) > 0
    assert model in str(refused.value)


def test_what_fits_nowhere_says_so():
    pocket = Hardware(name="pocket", memory_bytes=10**6, flops_s=1e9, memory_bandwidth_bytes_s=1e9)
    with pytest.raises(UserError, match="a smaller model or larger hardware"):
        kv_capacity(load_shape("opt-13b"), pocket)


@pytest.mark.parametrize("utilisation", [0.0, 1.1])
def test_a_utilisation_is_a_share(utilisation: float):
    with pytest.raises(UserError, match="memory utilisation"):
        kv_capacity(load_shape("tiny"), A100, utilisation=utilisation)


@pytest.mark.parametrize("name", shape_names())
def test_one_accelerator_holds_what_the_shape_says(name: str):
    shape, split = load_shape(name), Split(load_shape(name))
    assert split.weight_bytes(0) == shape.weight_bytes
    assert split.kv_bytes_per_token(0) == shape.kv_bytes_per_token


@given(name=st.sampled_from(shape_names()), tp=st.sampled_from([1, 2, 4, 8]), pp=st.integers(1, 6))
def test_a_split_loses_nothing(name: str, tp: int, pp: int):
    shape, split = load_shape(name), Split(load_shape(name), tp, pp)
    assert sum(split.stage_layers) == shape.num_layers
    assert max(split.stage_layers) - min(split.stage_layers) <= 1
    total = tp * sum(split.weight_bytes(stage) for stage in range(pp))
    copies = 0 if tp <= shape.num_kv_heads else 2 * (tp - shape.num_kv_heads) * shape.head_dim * shape.hidden_size
    copies *= shape.num_layers
    copies += shape.vocab_size * shape.hidden_size if shape.tied_embeddings and pp > 1 else 0
    assert total == pytest.approx(shape.weight_bytes + copies * shape.bytes_per_value, rel=1e-12)
    cache = tp * sum(split.kv_bytes_per_token(stage) for stage in range(pp))
    assert cache == shape.kv_bytes_per_token * max(1, tp // shape.num_kv_heads)


@pytest.mark.parametrize(
    ("tp", "pp", "sentence"),
    [(7, 1, "possible are tp = 1, 2, 4, 5, 8, 10, 20, 40"), (1, 41, "pp=41 stages"), (0, 1, "must be at least 1")],
)
def test_splits_that_cannot_be(tp: int, pp: int, sentence: str):
    with pytest.raises(UserError, match=sentence):
        Split(load_shape("opt-13b"), tp, pp)


def test_grouped_heads_can_be_copied():
    assert Split(load_shape("llama-3.1-70b"), tp=16).kv_heads_per_gpu == 1
    assert Split(load_shape("llama-3.1-70b"), tp=4).kv_heads_per_gpu == 2
