"""The numbers of docs/cost_models.md are those of the code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from course.simulator.capacity import kv_capacity, published_kv_capacity
from course.simulator.costs.distserve import published
from course.simulator.costs.fitted import FittedCost, fitted_rows
from course.simulator.costs.roofline import EAGER, IDEAL, Efficiency, RooflineCost
from course.simulator.hardware import load_hardware
from course.simulator.operators import step_operators
from course.simulator.parallel import Split
from course.simulator.shapes import load_shape, shape_names
from tests.simulator.costs.helpers import batch

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "cost_models.md").read_text(encoding="utf-8")
A100 = load_hardware("a100-80gb")
OURS, VLLM = FittedCost("distserve-a100", "opt-13b"), FittedCost("vllm-a100", "opt-13b")


def row(*cells: object) -> None:
    """The page must have this row."""
    assert f"| {' | '.join(map(str, cells))} |" in TEXT


@pytest.mark.parametrize("name", [name for name in shape_names() if name != "tiny"])
def test_shapes(name: str):
    shape = load_shape(name)
    row(name, f"{shape.num_parameters:,}", f"{shape.weight_bytes / 1e9:.1f}", f"{shape.kv_bytes_per_token:,}")


@pytest.mark.parametrize(
    ("name", "tp"), [("opt-13b", 1), ("opt-13b", 2), ("opt-13b", 4), ("opt-66b", 2), ("opt-66b", 4), ("opt-66b", 8)]
)
def test_capacities(name: str, tp: int):
    row(f"{name}, tp={tp}", f"{published_kv_capacity(name, tp):,}", f"{kv_capacity(load_shape(name), A100, tp):,}")


def test_counts():
    from course.engine.profiling import default_steps

    assert f"runs {len(default_steps(4096))} kinds of steps" in TEXT
    assert f"`max_num_tokens.csv`, {sum(map(len, published()['kv_capacity_tokens'].values()))} rows" in TEXT


@pytest.mark.parametrize(("num", "form"), [(128, 31), (256, 45), (512, 72), (1024, 130), (2048, 257)])
def test_prefills(num: int, form: int):
    step = batch([(0, num)])
    row(num, form, f"{1e3 * OURS.batch_s(step):.1f}", f"{1e3 * VLLM.batch_s(step):.1f}")


@pytest.mark.parametrize(("num", "form"), [(1, 20), (16, 24), (64, 34), (128, 50)])
def test_decodes(num: int, form: int):
    step = batch(contexts=[300] * num)
    row(num, form, f"{1e3 * OURS.batch_s(step):.1f}", f"{1e3 * VLLM.batch_s(step):.1f}")


def test_a_mixed_step():
    mixed = batch([(0, 256)], [500] * 32), batch([(0, 256)]), batch(contexts=[500] * 32)
    both, prompt, decodes = (f"{1e3 * OURS.batch_s(step):.1f}" for step in mixed)
    assert f"takes\n{both} ms, where the parts take {prompt} and {decodes}" in TEXT


def test_operators():
    split = Split(load_shape("opt-13b"))
    for prompt, decode in zip(
        step_operators(split, [(0, 512)]), step_operators(split, decode_contexts=[300] * 64), strict=True
    ):
        cells: list[str] = []
        for operator in (prompt, decode):
            seconds = max(operator.flops / A100.flops_s, operator.bytes / A100.memory_bandwidth_bytes_s)
            cells += [f"{operator.flops / 1e9:,.0f}", f"{operator.bytes / 1e9:.1f}", f"{1e3 * seconds:.1f}"]
        row(prompt.name.removesuffix(" of prompts"), *cells)


STEPS = [batch([(0, n)]) for n in (128, 256, 512, 1024, 2048)]
STEPS += [batch(contexts=[context] * num) for num in (1, 16, 64, 128) for context in (300, 1000)]


def test_roofline_over_fit():
    errors = []
    for name, tps in fitted_rows("distserve-a100").items():
        for tp in tps:
            roofline, fitted = (
                RooflineCost(load_shape(name), A100, tp, efficiency=EAGER),
                FittedCost("distserve-a100", name, tp),
            )
            ratios = [roofline.batch_s(step) / fitted.batch_s(step) for step in STEPS]
            errors += [abs(ratio - 1) for ratio in ratios]
            row(f"{name}, tp={tp}", *(f"{ratios[i]:.2f}" for i in (0, 2, 4, 5, 9, 11)))
    p50, p90 = np.quantile(errors, (0.5, 0.9))
    assert f"{100 * p50:.0f} % at the median, {100 * p90:.0f} % at the 90th percentile" in TEXT
    assert f"{100 * max(errors):.0f} % at most" in TEXT


@pytest.mark.parametrize(
    ("name", "hardware", "prompts", "tokens"),
    [
        # Medians of Splitwise's released timing data: prompts of 512 to 4096 tokens; a token at batch 1, 32, 64.
        ("A100", "a100-80gb", [93, 155, 274, 661], [45.0, 53.0, 71.6]),
        ("H100", "h100", [54, 78, 137, 390], [30.6, 38.6, 50.2]),
    ],
)
def test_beside_splitwise(name: str, hardware: str, prompts: list[int], tokens: list[float]):
    cost = RooflineCost(load_shape("llama-2-70b"), load_hardware(hardware), tp=8, efficiency=EAGER)
    ours = [1e3 * cost.batch_s(batch([(0, n)])) for n in (512, 1024, 2048, 4096)]
    cells = [f"{each:.0f} / {theirs}" for each, theirs in zip(ours, prompts, strict=True)]
    ours = [1e3 * cost.batch_s(batch(contexts=[512] * num)) for num in (1, 32, 64)]
    row(name, *cells, *(f"{each:.1f} / {theirs}" for each, theirs in zip(ours, tokens, strict=True)))


@pytest.mark.parametrize(
    ("what", "bandwidth_bytes_s", "contexts", "measured"),
    [
        ("H100, vLLM 0.21, 1 user", 3350e9, [300], 6.48),
        ("H100, vLLM 0.21, 4 users", 3350e9, [300] * 4, 6.59),
        ("A100 40 GB, vLLM 0.23, 1 user", 1555e9, [1088], 13.3),
    ],
)
def test_beside_engines_of_today(what: str, bandwidth_bytes_s: float, contexts: list[int], measured: float):
    # Decodes are bound by memory: the arithmetic of either device does.
    hardware = replace(load_hardware("h100"), memory_bandwidth_bytes_s=bandwidth_bytes_s)
    times_s = [
        RooflineCost(load_shape("llama-3.1-8b"), hardware, efficiency=efficiency).batch_s(batch(contexts=contexts))
        for efficiency in (Efficiency(), EAGER, IDEAL)
    ]
    row(what, measured, *(f"{1e3 * time_s:.1f}" for time_s in times_s))
