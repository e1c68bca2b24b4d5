"""The roofline: by hand, against its own operators, and beside what was measured."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.costs.fitted import FITTED, FittedCost, fitted_rows
from course.simulator.costs.roofline import EAGER, IDEAL, Efficiency, RooflineCost
from course.simulator.hardware import load_hardware
from course.simulator.links import load_link
from course.simulator.operators import step_operators
from course.simulator.shapes import load_shape, shape_names
from tests.simulator.costs.helpers import batch, chunks, contexts, one_further

A100 = load_hardware("a100-80gb")
STEPS = [batch(prompts=[(0, n)]) for n in (128, 256, 512, 1024, 2048)] + [
    batch(contexts=[context] * num) for num in (1, 16, 64, 128) for context in (300, 1000)
]
names, hardware = st.sampled_from(shape_names()), st.sampled_from(["a100-80gb", "h100", "h200", "l4"])
splits = st.sampled_from([(1, 1), (2, 1), (4, 1), (1, 2), (2, 3), (8, 4)])


def test_a_decode_step_alone_reads_the_weights():
    # OPT-13B's matrices: 2 * (12 h² * 40 + vocabulary * h) bytes at 2,039 GB/s.
    cost = RooflineCost(load_shape("opt-13b"), A100, efficiency=IDEAL)
    weights_s = 2 * (12 * 5120**2 * 40 + 50272 * 5120) / 2039e9
    assert cost.batch_s(batch(contexts=[1])) == pytest.approx(weights_s, rel=0.001)


def test_a_long_prompt_is_bound_by_arithmetic():
    cost = RooflineCost(load_shape("opt-13b"), A100, efficiency=IDEAL)
    arithmetic_s = (2048 * 2 * 12 * 5120**2 * 40 + 4 * 5120 * 40 * 2048 * 2049 / 2) / 312e12
    assert cost.batch_s(batch([(0, 2048)])) == pytest.approx(arithmetic_s, rel=0.06)  # the rest: norms and activations


@given(name=names, hardware=hardware, split=splits, chunks=chunks, contexts=contexts)
def test_the_ideal_step_is_the_sum_of_its_operators_rooflines(name, hardware, split, chunks, contexts):
    gpu = load_hardware(hardware)
    free = load_link(gpu.link)
    cost = RooflineCost(load_shape(name), gpu, split[0], efficiency=IDEAL)
    step = batch(chunks, contexts)
    operators = step_operators(cost.split, chunks, contexts)
    alone_s = sum(max(o.flops / gpu.flops_s, o.bytes / gpu.memory_bandwidth_bytes_s) for o in operators)
    num_tokens = len(contexts) + sum(n for _, n in chunks)
    vector_bytes = cost.shape.hidden_size * cost.shape.bytes_per_value
    reduce_s = 2 * cost.shape.num_layers * free.all_reduce_s(num_tokens * vector_bytes, split[0])
    assert cost.batch_s(step) == pytest.approx(alone_s + reduce_s, rel=1e-9)


@given(name=names, hardware=hardware, split=splits, contexts=contexts)
def test_successive_decode_steps_are_the_series(name, hardware, split, contexts):
    cost, step = RooflineCost(load_shape(name), load_hardware(hardware), *split), batch(contexts=contexts)
    first_s, growth_s = cost.decode_series_s(step)
    assert growth_s > 0
    for i in range(5):
        assert first_s + i * growth_s == pytest.approx(cost.batch_s(step), rel=1e-12)
        step = one_further(step)


@given(name=names, hardware=hardware, split=splits, chunks=chunks, contexts=contexts)
def test_steps_together_are_shorter_than_one_after_the_other_and_longer_than_each(
    name, hardware, split, chunks, contexts
):
    cost = RooflineCost(load_shape(name), load_hardware(hardware), *split)
    together_s = cost.batch_s(batch(chunks, contexts))
    parts_s = cost.batch_s(batch(prompts=chunks)), cost.batch_s(batch(contexts=contexts))
    assert max(parts_s) < together_s < sum(parts_s)


@given(name=names, hardware=hardware, split=splits, chunks=chunks, contexts=contexts)
def test_a_stage_is_a_part_of_the_pipeline(name, hardware, split, chunks, contexts):
    cost, step = RooflineCost(load_shape(name), load_hardware(hardware), *split), batch(chunks, contexts)
    whole_s, stage_s = cost.batch_s(step), cost.batch_stage_s(step)
    if split[1] == 1:
        assert stage_s == whole_s
    else:
        assert whole_s / split[1] <= stage_s < whole_s


def test_what_is_not_computed_is_not_charged():
    cost = RooflineCost(load_shape("opt-13b"), A100, efficiency=IDEAL)
    assert cost.batch_s(batch()) == 0
    sampling, silent = batch([(0, 64)]), batch([(0, 64)])
    silent.prompts = [chunk._replace(samples=()) for chunk in silent.prompts]
    logits_s = 2 * 50272 * 5120 / 2039e9
    assert cost.batch_s(sampling) - cost.batch_s(silent) == pytest.approx(logits_s, rel=0.001)


def test_more_accelerators_make_a_prompt_faster_with_diminishing_returns():
    times_s = [RooflineCost(load_shape("opt-66b"), A100, tp).batch_s(batch([(0, 1024)])) for tp in (1, 2, 4, 8)]
    speedups = [slow / fast for slow, fast in itertools.pairwise(times_s)]
    assert all(1 < speedup < 2 for speedup in speedups)
    assert speedups == sorted(speedups, reverse=True)


def test_a_slow_link_makes_tensor_parallelism_pointless():
    shape, step = load_shape("opt-13b"), batch([(0, 1024)])
    alone_s = RooflineCost(shape, A100).batch_s(step)
    assert RooflineCost(shape, A100, tp=2).batch_s(step) < alone_s
    assert RooflineCost(shape, A100, tp=2, link=load_link("25gbit")).batch_s(step) > alone_s


@pytest.mark.parametrize("engine", FITTED)
def test_nothing_measured_is_faster_than_the_datasheet(engine: str):
    for model, tps in fitted_rows(engine).items():
        for tp in tps:
            bound, measured = RooflineCost(load_shape(model), A100, tp, efficiency=IDEAL), FittedCost(engine, model, tp)
            assert all(bound.batch_s(step) < measured.batch_s(step) for step in STEPS)


def test_an_eager_engine_stands_beside_distserves_measurements():
    ratios = [
        RooflineCost(load_shape(model), A100, tp, efficiency=EAGER).batch_s(step)
        / FittedCost("distserve-a100", model, tp).batch_s(step)
        for model, tps in fitted_rows("distserve-a100").items()
        for tp in tps
        for step in STEPS
    ]
    errors = sorted(abs(ratio - 1) for ratio in ratios)
    assert statistics.median(errors) < 0.15
    assert errors[int(0.9 * len(errors))] < 0.3


def test_an_engine_of_today_decodes_as_fast_as_measured():
    # Llama 3.1 8B in 16 bits. H100: vLLM 0.21, TPOT of 1 and 4 users. A100 40 GB: vLLM 0.23, 75 tokens/s for 1 user.
    llama, h100 = load_shape("llama-3.1-8b"), load_hardware("h100")
    small = replace(A100, name="a100-40gb", memory_bytes=40 * 2**30, memory_bandwidth_bytes_s=1555e9)
    assert RooflineCost(llama, h100).batch_s(batch(contexts=[300])) == pytest.approx(6.48e-3, rel=0.05)
    assert RooflineCost(llama, h100).batch_s(batch(contexts=[300] * 4)) == pytest.approx(6.59e-3, rel=0.05)
    assert RooflineCost(llama, small).batch_s(batch(contexts=[1088])) == pytest.approx(1 / 75, rel=0.1)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [({"compute": 0}, "efficiencies"), ({"memory": 1.5}, "efficiencies"), ({"layer_overhead_s": -1}, "overheads")],
)
def test_impossible_efficiencies_are_refused(given, sentence):
    with pytest.raises(UserError, match=sentence):
        Efficiency(**given)
