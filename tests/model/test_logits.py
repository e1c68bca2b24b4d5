"""Our logits equal those of transformers, however the tokens are cut, packed and paged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course.model.attention import attention_backend
from course.model.kv_cache import KVCache
from course.model.packing import Chunk, Spans, pack
from course.model.transformer import Transformer
from tests.model.conftest import build


class Text:
    """A sequence that is computed piece by piece: its tokens and where its cache lies."""

    def __init__(self, tokens: list[int], block_table: list[int]) -> None:
        self.tokens, self.block_table, self.num_computed = tokens, block_table, 0

    def chunk(self, num_tokens: int) -> Chunk:
        start, end = self.num_computed, self.num_computed + num_tokens
        self.num_computed = end
        return Chunk(self.tokens[start:end], start, self.block_table)


def make_texts(lengths: list[int], block_size: int, vocab_size: int, seed: int = 0) -> tuple[list[Text], int]:
    """Random texts whose blocks lie scattered over the cache, and the cache's size in blocks."""
    rng = np.random.default_rng(seed)
    counts = [-(-length // block_size) for length in lengths]
    order = rng.permutation(sum(counts) + 3).tolist()
    texts = []
    for length, count in zip(lengths, counts, strict=True):
        table, order = order[:count], order[count:]
        texts.append(Text(rng.integers(0, vocab_size, length).tolist(), table))
    return texts, sum(counts) + 3


def reference(model: torch.nn.Module, texts: list[Text]) -> list[torch.Tensor]:
    with torch.no_grad():
        return [model(torch.tensor([text.tokens])).logits[0] for text in texts]


def run_cuts(
    model: Transformer, texts: list[Text], num_blocks: int, block_size: int, seed: int
) -> list[dict[int, torch.Tensor]]:
    """Compute all texts in random mixed batches; the logits found after each position."""
    rng = np.random.default_rng(seed)
    cache = model.new_cache(num_blocks, block_size)
    cache.blocks.fill_(float("nan"))  # what was never written must never matter
    found: list[dict[int, torch.Tensor]] = [{} for _ in texts]
    while open_texts := [i for i, text in enumerate(texts) if text.num_computed < len(text.tokens)]:
        chosen = [i for i in rng.permutation(open_texts).tolist() if rng.random() < 0.8] or open_texts[:1]
        sizes = [
            min(int(rng.choice([1, 1, 1, 2, 5, 16, 40])), len(texts[i].tokens) - texts[i].num_computed) for i in chosen
        ]
        chunks = [texts[i].chunk(size) for i, size in zip(chosen, sizes, strict=True)]
        logits = model.forward(pack(chunks, block_size, model.config.num_kv_heads, model.device), cache)
        for i, row in zip(chosen, logits.cpu(), strict=True):
            found[i][texts[i].num_computed - 1] = row
    return found


def assert_matches(found: list[dict[int, torch.Tensor]], wanted: list[torch.Tensor], tolerance: float = 1e-4) -> None:
    for rows, logits in zip(found, wanted, strict=True):
        for position, row in rows.items():
            torch.testing.assert_close(row, logits[position], atol=tolerance, rtol=0)


@pytest.mark.parametrize("packed", [False, True], ids=["public", "packed"])
def test_families_match_transformers(family: str, packed: bool) -> None:
    config, weights, hf_model = build(family)
    model = Transformer(config, weights, packed=packed)
    texts, num_blocks = make_texts([1, 16, 37, 64, 5, 100], 16, config.vocab_size)
    found = run_cuts(model, texts, num_blocks, 16, seed=0)
    assert_matches(found, reference(hf_model, texts))


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("seed", range(3))
def test_any_cut_and_block_size_matches(block_size: int, seed: int) -> None:
    config, weights, hf_model = build("llama")
    model = Transformer(config, weights)
    texts, num_blocks = make_texts([33, 1, 48, 16, 90, 4], block_size, config.vocab_size, seed)
    found = run_cuts(model, texts, num_blocks, block_size, seed)
    assert_matches(found, reference(hf_model, texts))


def test_plain_attention_is_the_same_function() -> None:
    config, weights, hf_model = build("llama", torch.float64)
    model = Transformer(config, weights, dtype=torch.float64, attention="plain")
    texts, num_blocks = make_texts([7, 1, 16], 4, config.vocab_size)
    found = run_cuts(model, texts, num_blocks, 4, seed=0)
    assert_matches(found, reference(hf_model, texts))


def test_paged_equals_plain_in_float64() -> None:
    config, weights, _ = build("qwen3")
    found = []
    for attention in ("plain", "paged"):
        model = Transformer(config, weights, dtype=torch.float64, attention=attention)
        texts, num_blocks = make_texts([9, 1, 16, 21], 4, config.vocab_size)
        found.append(run_cuts(model, texts, num_blocks, 4, seed=5))
    for plain, paged in zip(*found, strict=True):
        for position in plain:
            torch.testing.assert_close(paged[position], plain[position], atol=1e-12, rtol=0)


def test_bfloat16_stays_near() -> None:
    config, weights, hf_model = build("llama")
    model = Transformer(config, weights, dtype=torch.bfloat16)
    texts, num_blocks = make_texts([30, 3], 16, config.vocab_size)
    found = run_cuts(model, texts, num_blocks, 16, seed=0)
    wanted = reference(hf_model, texts)
    assert_matches([{p: row.float() for p, row in rows.items()} for rows in found], wanted, tolerance=0.3)


def test_unsampled_chunks_give_no_logits() -> None:
    config, weights, hf_model = build("llama")
    model = Transformer(config, weights)
    cache = model.new_cache(8, 16)
    tokens = list(range(40))
    first = pack([Chunk(tokens[:25], 0, [3, 1], sampled=False)], 16, config.num_kv_heads)
    assert model.forward(first, cache).shape == (0, config.vocab_size)
    other = Chunk([5], 0, [6], sampled=False)
    second = pack([other, Chunk(tokens[25:], 25, [3, 1, 7])], 16, config.num_kv_heads)
    logits = model.forward(second, cache)
    with torch.no_grad():
        wanted = hf_model(torch.tensor([tokens])).logits[0, -1]
    torch.testing.assert_close(logits, wanted[None], atol=1e-4, rtol=0)


def test_an_attention_of_one_s_own_may_take_the_place_of_the_model_s() -> None:
    """Two methods suffice; it is given clean blocks."""

    class Own:
        def __init__(self) -> None:
            self.plain = attention_backend("plain", config)

        def plan(self, spans: Spans, cache: KVCache) -> object:
            return self.plain.plan(spans, cache)

        def __call__(self, queries: torch.Tensor, cache: KVCache, layer: int, plan: object) -> torch.Tensor:
            return self.plain(queries, cache, layer, plan)

    config, weights, hf_model = build("llama")
    model = Transformer(config, weights)
    model.attention = Own()
    texts, num_blocks = make_texts([9, 21], 4, config.vocab_size)
    assert_matches(run_cuts(model, texts, num_blocks, 4, seed=1), reference(hf_model, texts))
