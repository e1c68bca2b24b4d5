"""FLOPs and bytes: against the shape, and against counting by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.simulator.operators import layer_products, logits_product, num_pairs, step_operators
from course.simulator.parallel import Split
from course.simulator.shapes import load_shape, shape_names

names = st.sampled_from(shape_names())
chunks = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 2000)), max_size=4)
contexts = st.lists(st.integers(1, 3000), max_size=20)


def totals(operators) -> tuple[float, float]:
    return sum(o.flops for o in operators), sum(o.bytes for o in operators)


@pytest.mark.parametrize("name", shape_names())
def test_matrix_products_have_all_matrices_of_the_model(name: str):
    shape = load_shape(name)
    products = [*layer_products(Split(shape)), logits_product(Split(shape))]
    matrices = sum(p.weight_bytes for p in products) / shape.bytes_per_value
    others = shape.num_parameters - matrices  # embedding, norms, biases
    embedding = 0 if shape.tied_embeddings else shape.vocab_size * shape.hidden_size
    assert 0 <= others - embedding < 0.002 * shape.num_parameters


def test_a_token_costs_two_flops_per_weight():
    # OPT-13B: 12 h² per layer, 40 layers: 25.2 GFLOPs in the matrices of the layers.
    flops = sum(p.flops_per_token for p in layer_products(Split(load_shape("opt-13b"))))
    assert flops == 2 * 12 * 5120**2 * 40


@given(start=st.integers(0, 60), num_tokens=st.integers(1, 60))
def test_pairs_are_those_that_a_causal_mask_leaves(start: int, num_tokens: int):
    assert num_pairs(start, num_tokens) == sum(start + i + 1 for i in range(num_tokens))


@given(name=names, chunks=chunks, contexts=contexts, tp=st.sampled_from([1, 2, 4]))
def test_tensor_parallel_shares_the_arithmetic(name, chunks, contexts, tp):
    shape = load_shape(name)
    alone = totals(step_operators(Split(shape), chunks, contexts))
    shared = totals(step_operators(Split(shape, tp), chunks, contexts))
    assert shared[0] * tp == pytest.approx(alone[0], rel=1e-9)
    assert alone[1] <= shared[1] * tp * (1 + 1e-9)  # inputs of a product are read by all


@given(name=names, whole=st.integers(2, 3000), data=st.data())
def test_chunks_compute_what_the_whole_prompt_computes_and_read_more(name, whole, data):
    cut = data.draw(st.integers(1, whole - 1))
    split = Split(load_shape(name))
    parts = [step_operators(split, [(0, cut)]), step_operators(split, [(cut, whole - cut)])]
    logits_flops = logits_product(split).flops_per_token  # each part is said to sample
    flops, num_bytes = map(sum, zip(*map(totals, parts), strict=True))
    whole_flops, whole_bytes = totals(step_operators(split, [(0, whole)]))
    assert flops - logits_flops == pytest.approx(whole_flops, rel=1e-9)
    assert num_bytes > whole_bytes


def test_intensity_says_what_is_bound_by_what():
    split = Split(load_shape("llama-2-13b"))
    decode = {o.name: o for o in step_operators(split, decode_contexts=[1000] * 16)}
    prefill = {o.name: o for o in step_operators(split, [(0, 2048)])}
    ridge = 153  # A100
    assert decode["feed-forward up"].flops_per_byte < 17 < ridge < prefill["feed-forward up"].flops_per_byte
    assert decode["attention of decodes"].flops_per_byte == 1  # one query per key-value head, two bytes per value
    grouped = step_operators(Split(load_shape("llama-2-70b")), decode_contexts=[1000])
    assert next(o for o in grouped if o.name == "attention of decodes").flops_per_byte == 8
