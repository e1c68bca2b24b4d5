"""DistServe's forms: the published constants, the rules of its simulator, and the two together."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.costs.distserve import published
from course.simulator.costs.fitted import FITTED, FittedCost, fitted_rows
from tests.simulator.costs.helpers import batch, chunks, contexts, one_further

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "simdistserve"
ROWS = [(engine, model, tp) for engine in FITTED for model, tps in fitted_rows(engine).items() for tp in tps]
rows, stages = st.sampled_from(ROWS), st.sampled_from([1, 2, 4])

DISPATCH_MS = 2.0  # FACTS and paper give the forms without it
DISPATCH_TOKEN_MS = 1e-4


def rule_ms(engine: str, model: str, tp: int, pp: int, prompts: list[int], contexts: list[int]) -> tuple[float, float]:
    """Milliseconds of the first stage and of all stages, straight from the rules: l_i, and l_i + k_i of the decodes."""
    constants = published()["engines"][engine][model][str(tp)]
    if prompts:
        a, b, c = constants["prefill"]
        stage = (a + b * sum(prompts) + c * sum(n**2 for n in prompts)) / pp + 1 * pp
        bracket = 2 + 1e-4 * sum(prompts)
    else:
        a, b, c = constants["decode_small" if len(contexts) < 95 else "decode_large"]
        stage = (a + b * sum(n + 1 for n in contexts) + c * len(contexts)) / pp
        bracket = 2 + 1e-4 * sum(contexts)
    return stage + bracket, pp * stage + bracket


@given(row=rows, pp=stages, lengths=st.lists(st.integers(1, 4000), min_size=1, max_size=20))
def test_prefill_follows_the_rules(row, pp, lengths):
    cost, step = FittedCost(*row, pp), batch(prompts=[(0, n) for n in lengths])
    stage_ms, all_ms = rule_ms(*row, pp, lengths, [])
    assert cost.batch_s(step) == pytest.approx(all_ms / 1e3, rel=1e-12)
    assert cost.batch_stage_s(step) == pytest.approx(stage_ms / 1e3, rel=1e-12)


@given(row=rows, pp=stages, contexts=contexts)
def test_decode_follows_the_rules(row, pp, contexts):
    cost, step = FittedCost(*row, pp), batch(contexts=contexts)
    stage_ms, all_ms = rule_ms(*row, pp, [], contexts)
    assert cost.batch_s(step) == pytest.approx(all_ms / 1e3, rel=1e-12)
    assert cost.batch_stage_s(step) == pytest.approx(stage_ms / 1e3, rel=1e-12)


def test_the_constants_change_at_95_sequences():
    cost = FittedCost("distserve-a100", "opt-13b")
    assert cost.batch_s(batch(contexts=[100] * 94)) == pytest.approx(0.0324465, rel=1e-5)
    assert cost.batch_s(batch(contexts=[100] * 95)) == pytest.approx(0.0307189, rel=1e-5)


def test_a_step_that_only_moves_blocks_is_dispatched():
    assert FittedCost("vllm-a100", "opt-13b").batch_s(batch()) == 2e-3


@given(row=rows, pp=stages, contexts=contexts)
def test_successive_decode_steps_are_the_series(row, pp, contexts):
    cost, step = FittedCost(*row, pp), batch(contexts=contexts)
    first_s, growth_s = cost.decode_series_s(step)
    for i in range(5):
        assert first_s + i * growth_s == pytest.approx(cost.batch_s(step), rel=1e-12)
        step = one_further(step)


@given(row=rows, pp=stages, chunks=chunks, contexts=contexts)
def test_a_mixed_step_is_no_shorter_than_its_parts(row, pp, chunks, contexts):
    cost = FittedCost(*row, pp)
    for time_s in (cost.batch_s, cost.batch_stage_s):
        mixed_s = time_s(batch(chunks, contexts))
        prompts_s, decodes_s = time_s(batch(prompts=chunks)), time_s(batch(contexts=contexts))
        assert max(prompts_s, decodes_s) <= mixed_s * (1 + 1e-12)
        assert mixed_s < prompts_s + decodes_s


@given(row=rows, cuts=st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_chunks_of_a_prompt_cost_its_tokens_and_its_square_once(row, cuts):
    cost = FittedCost(*row)
    starts = [sum(cuts[:i]) for i in range(len(cuts))]
    constant_s = published()["engines"][row[0]][row[1]][str(row[2])]["prefill"][0] / 1e3 + 3e-3
    in_chunks_s = sum(cost.batch_s(batch(prompts=[chunk])) for chunk in zip(starts, cuts, strict=True))
    whole_s = cost.batch_s(batch(prompts=[(0, sum(cuts))]))
    assert in_chunks_s - whole_s == pytest.approx((len(cuts) - 1) * constant_s, abs=1e-12)


def ms(cost: FittedCost, *, prompts: list[int] = [], contexts: list[int] = []) -> int:  # noqa: B006
    """Milliseconds without the dispatch and the stage's constant, as the paper's forms have them."""
    tokens = sum(prompts) + sum(contexts)
    around = DISPATCH_MS + DISPATCH_TOKEN_MS * tokens + (1 if prompts else 0)
    return round(1e3 * cost.batch_s(batch([(0, n) for n in prompts], contexts)) - around)


def test_derived_check_values():
    small, large = FittedCost("distserve-a100", "opt-13b"), FittedCost("distserve-a100", "opt-66b", tp=4)
    lengths = [128, 256, 512, 1024, 2048]
    assert [ms(small, prompts=[n]) for n in lengths] == [31, 45, 72, 130, 257]
    assert [ms(large, prompts=[n]) for n in lengths] == [49, 69, 109, 193, 374]
    assert [ms(small, contexts=[300] * n) for n in (1, 16, 64, 128)] == [20, 24, 34, 50]
    assert ms(FittedCost("vllm-a100", "opt-13b"), prompts=[512]) == 96


@pytest.mark.parametrize("engine", FITTED)
def test_constants_are_the_published_ones_to_the_last_digit(engine: str):
    if not DATA.is_dir():
        pytest.skip(f"no published constants at {DATA}")
    stored = json.loads((DATA / f"profiler-a100-80g.{engine.removesuffix('-a100')}.json").read_text())
    shipped = published()["engines"][engine]
    names = {"prefill": "prefill", "decode_small": "decoding_smallbs", "decode_large": "decoding_largebs"}
    assert {f"facebook/{model}": sorted(tables) for model, tables in shipped.items()} == {
        model: sorted(tables) for model, tables in stored.items()
    }
    for model, tables in shipped.items():
        for tp, forms in tables.items():
            row = stored[f"facebook/{model}"][tp]
            assert forms == {ours: row[theirs] for ours, theirs in names.items()}
            assert row["decoding_large_small_bs_threshold"] == published()["large_batch"]


def test_capacities_are_the_published_ones():
    if not DATA.is_dir():
        pytest.skip(f"no published capacities at {DATA}")
    with (DATA / "max_num_tokens.csv").open() as file:
        stored = {
            (row["model"].removeprefix("facebook/"), f"{row['tp']},{row['pp']}"): int(row["max_num_tokens"])
            for row in csv.DictReader(file)
        }
    tables = published()["kv_capacity_tokens"]
    assert {(model, pair): n for model, table in tables.items() for pair, n in table.items()} == stored


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("distserve-a100", "opt-175b"), "was not fitted for opt-175b; it has opt-13b, opt-66b"),
        (("vllm-a100", "opt-66b", 1), r"opt-66b with tp=1; it has tp = 2, 3, 4, 8"),
        (("vllm", "opt-13b"), "the nearest is 'vllm-a100'"),
        (("vllm-a100", "opt-13b", 1, 0), "pp must be at least 1"),
    ],
)
def test_what_was_not_fitted_is_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        FittedCost(*arguments)
