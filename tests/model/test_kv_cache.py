"""Blocks as tensors: copies, swaps, and a cache that carries nothing over to its next owner."""

from __future__ import annotations

import pytest
import torch

from course.model.config import benchmark_shape
from course.model.kv_cache import KVCache
from course.model.packing import Chunk, pack
from course.model.transformer import Transformer
from tests.model.conftest import build


def random_cache(num_blocks: int = 12, block_size: int = 4) -> KVCache:
    cache = KVCache(benchmark_shape("tiny"), num_blocks, block_size)
    cache.blocks.normal_(generator=torch.Generator().manual_seed(0))
    return cache


def test_copies_read_all_sources_before_they_write() -> None:
    cache = random_cache()
    before = cache.blocks.clone()
    cache.copy([0, 1, 2], [1, 2, 5])
    for source, target in [(0, 1), (1, 2), (2, 5)]:
        assert torch.equal(cache.blocks[:, target], before[:, source])
    untouched = [0, 3, 4, *range(6, 12)]
    assert torch.equal(cache.blocks[:, untouched], before[:, untouched])


def test_swap_out_and_in_is_a_round_trip() -> None:
    cache, host = random_cache(), KVCache(benchmark_shape("tiny"), 5, 4)
    before = cache.blocks.clone()
    host.copy_from(cache, [3, 7, 1], [4, 0, 2])
    cache.blocks.zero_()
    cache.copy_from(host, [0, 4, 2], [10, 11, 0])
    for source, target in [(7, 10), (3, 11), (1, 0)]:
        assert torch.equal(cache.blocks[:, target], before[:, source])


@pytest.mark.parametrize("copied_tokens", [1, 3])
def test_copy_on_write_lets_two_answers_go_on_from_one_prompt(copied_tokens: int) -> None:
    config, weights, hf_model = build("llama")
    model = Transformer(config, weights, dtype=torch.float64)
    cache = model.new_cache(8, 4)
    prompt = list(range(4 + copied_tokens))
    model.forward(pack([Chunk(prompt, 0, [2, 5])], 4, config.num_kv_heads), cache)
    cache.copy([5], [6])  # the block that is not full: each answer needs one of its own
    chunks = [Chunk([11], len(prompt), [2, 5]), Chunk([22], len(prompt), [2, 6])]
    logits = model.forward(pack(chunks, 4, config.num_kv_heads), cache)
    for row, token in zip(logits, (11, 22), strict=True):
        with torch.no_grad():
            wanted = hf_model(torch.tensor([[*prompt, token]])).logits[0, -1]
        torch.testing.assert_close(row.float(), wanted, atol=1e-4, rtol=0)


def test_a_broken_neighbour_leaks_nothing_through_reused_blocks() -> None:
    """A sequence that computed NaN leaves blocks whose next owner must not see them."""
    config, weights, _ = build("llama")
    model = Transformer(config, weights)
    clean, dirty = model.new_cache(6, 16), model.new_cache(6, 16)
    dirty.blocks.fill_(float("nan"))
    chunks = [Chunk([1, 2, 3], 0, [4]), Chunk([7], 0, [0]), Chunk(list(range(20)), 0, [5, 1])]
    for piece in (chunks, [Chunk([9], 3, [4]), Chunk([9], 1, [0]), Chunk([9, 9], 20, [5, 1])]):
        batch = pack(piece, 16, config.num_kv_heads)
        assert torch.equal(model.forward(batch, dirty), model.forward(batch, clean))


def test_a_neighbour_with_nan_in_the_same_batch_stays_alone() -> None:
    config, weights, _ = build("llama")
    weights["model.embed_tokens.weight"][13] = float("nan")
    model = Transformer(config, weights)
    cache = model.new_cache(8, 4)
    model.forward(pack([Chunk([13, 1], 0, [0]), Chunk([1, 2, 3, 4, 5], 0, [1, 2])], 4, config.num_kv_heads), cache)
    batch = pack([Chunk([1], 2, [0]), Chunk([6], 5, [1, 2])], 4, config.num_kv_heads)
    logits = model.forward(batch, cache)
    assert logits[0].isnan().all()
    assert logits[1].isfinite().all()
