"""Prompt cost, KV memory, decode cost and attention: what the pictures show is what the formulas say."""

from __future__ import annotations

import pytest

from course.curriculum.lesson_01_attention.explorer import COSTS, Pattern, pattern_explorer
from course.curriculum.lesson_02_kv_cache.explorer import memory_of, times_s
from course.figures import (
    MemoryUse,
    PromptCost,
    attention_pattern,
    attention_summary,
    cached_vs_uncached,
    cached_vs_uncached_summary,
    kv_memory,
    kv_memory_summary,
    prompt_cost,
    prompt_cost_summary,
)
from course.figures.decode_cost import smoothed

OPT_13B = COSTS["OPT-13B on one A100"]


def test_prompt_cost_gives_distserves_own_values() -> None:
    """Prefill of OPT-13B on one A100, ms, from their fitted constants."""
    expected = {128: 31, 256: 45, 512: 72, 1024: 130, 2048: 257}
    assert {n: round(OPT_13B.ttft_s(n) * 1e3) for n in expected} == expected


def test_prompt_cost_stacks_to_the_total() -> None:
    figure = prompt_cost(OPT_13B, 1000)
    total = [sum(parts) for parts in zip(*(trace.y for trace in figure.data), strict=True)]
    assert figure.data[0].x[-1] == 2000
    assert total[-1] == pytest.approx(OPT_13B.ttft_s(2000) * 1e3, abs=0.01)


def test_many_seconds_are_drawn_in_seconds() -> None:
    short, long = prompt_cost(OPT_13B, 2048), prompt_cost(OPT_13B, 65_536)
    assert short.layout.yaxis.title.text.endswith("(ms)")
    assert long.layout.yaxis.title.text.endswith("(s)")
    assert sum(trace.y[-1] for trace in long.data) == pytest.approx(OPT_13B.ttft_s(131_072), abs=0.01)


def test_the_quadratic_part_overtakes_at_the_crossover() -> None:
    _, linear, quadratic = OPT_13B.parts_s(round(OPT_13B.crossover_tokens))
    assert linear == pytest.approx(quadratic, rel=1e-3)
    assert "equal at 14,309 tokens" in prompt_cost_summary(OPT_13B, 100)
    assert prompt_cost_summary(PromptCost(0.0, 1e-3, 0.0), 10) == (
        "A prompt of 10 tokens takes 10 ms: 0% constant, 100% linear, 0% quadratic."
    )


def test_kv_memory_of_opt_66b() -> None:
    """512 tokens = 1.125 GiB (DistServe, section 3.3, in binary units)."""
    assert memory_of("OPT-66B, 4 GPUs").kv_bytes(512, 1) == 1.125 * 2**30


def test_what_fits_is_the_most_that_fits() -> None:
    use = MemoryUse(total_bytes=100.0, weight_bytes=40.0, kv_bytes_per_token=2.0)
    assert use.num_sequences(10) == 3
    assert use.kv_bytes(10, 3) <= use.free_bytes < use.kv_bytes(10, 4)
    assert MemoryUse(10.0, 40.0, 2.0).num_sequences(10) == 0


def test_kv_beyond_the_memory_is_drawn_apart() -> None:
    use = memory_of("OPT-13B, 1 GPU")
    for context, batch, fits in ((2048, 16, True), (2048, 64, False)):
        figure = kv_memory(use, context, batch)
        weights, inside, beyond = (trace.y[0] for trace in figure.data[:3])
        assert (beyond == 0) == fits
        assert weights + inside <= use.total_bytes / 2**30 + 0.01
        assert inside + beyond == pytest.approx(use.kv_bytes(context, batch) / 2**30, abs=0.01)
        assert figure.data[-1].marker.symbol == ("circle" if fits else "x")
        assert ("do NOT fit" in kv_memory_summary(use, context, batch)) != fits


def test_the_label_of_the_batch_is_not_cut_off_at_the_edge() -> None:
    use = memory_of("OPT-13B, 1 GPU")
    places = [kv_memory(use, context, 16).data[-1].textposition for context in (128, 2048, 131_072)]
    assert places == ["bottom right", "middle left", "middle left"]


def test_without_cache_every_token_costs_a_prefill() -> None:
    cached, uncached = times_s("OPT-13B on one A100", 256, 8)
    assert cached[0] == uncached[0] == OPT_13B.ttft_s(256)
    assert uncached[7] == OPT_13B.ttft_s(263)
    assert cached[1] * 1e3 == pytest.approx(20.1, abs=0.1)
    figure = cached_vs_uncached(cached, uncached)
    assert [len(trace.x) for trace in figure.data] == [8, 8]
    assert cached_vs_uncached_summary([0.1, 0.01], [0.1, 0.1]) == (
        "2 tokens: with cache TTFT 100 ms, TPOT 10 ms; without TTFT 100 ms, TPOT 100 ms. "
        "The whole answer takes 1.8 times as long without."
    )


def test_smoothing_removes_one_hiccup() -> None:
    assert smoothed([1.0, 1.0, 9.0, 1.0, 1.0]) == [1.0] * 5


WEIGHTS = [[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.1, 0.2, 0.7]]


def test_the_mask_stays_empty_and_a_zero_does_not() -> None:
    heat = attention_pattern(["a", "b", "c"], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]]).data[0]
    assert [list(row) for row in heat.z] == [[1.0, None, None], [0.0, 1.0, None], [0.1, 0.2, 0.7]]


def test_spaces_and_line_ends_of_tokens_can_be_seen() -> None:
    figure = attention_pattern([" a", "\n", ""], WEIGHTS)
    assert list(figure.layout.xaxis.ticktext) == ["␣a", "⏎", "∅"]
    assert attention_summary([" a", "b", "c"], WEIGHTS) == "3 tokens; the last, 'c', looks most at 'c' (70%)."
    assert attention_summary([], []) == "No tokens."


def test_the_pattern_explorer_draws_what_the_model_says() -> None:
    def look(text: str) -> Pattern:
        tokens = text.split()
        rows = [[1.0 if j == i else 0.0 for j in range(len(tokens))] for i in range(len(tokens))]
        return Pattern(tokens, [[rows, rows]])

    explorer = pattern_explorer(look, "to be or not", num_layers=1, num_heads=2)
    figure, summary = explorer.draw(text="five", head=1)
    assert list(figure.layout.yaxis.ticktext) == ["five"]
    assert summary == "1 token; the last, 'five', looks most at 'five' (100%)."
