"""Our kernels compute what torch's operators compute: on a GPU, or on a CPU where Triton interprets them.

TRITON_INTERPRET=1 python -m pytest tests/model/test_kernels.py
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course.errors import UserError
from course.model.attention import attention_backend
from course.model.config import ModelConfig
from course.model.kernels import are_usable
from course.model.linear import gated_map, linear_map
from course.model.norm import rms_norm
from course.model.packing import Chunk, PackedBatch, Spans, pack
from course.model.transformer import Transformer
from tests.model.conftest import build
from tests.model.test_logits import assert_matches, make_texts, reference, run_cuts

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
with_kernels = pytest.mark.skipif(
    not are_usable(DEVICE, torch.float32), reason="our kernels need Triton and a CUDA GPU (or TRITON_INTERPRET=1)"
)


def make_model(name: str, dtype: torch.dtype = torch.float32) -> tuple[Transformer, torch.nn.Module]:
    config, weights, hf_model = build(name)
    return Transformer(config, weights, dtype=dtype, device=DEVICE, kernels=True), hf_model


@with_kernels
def test_families_match_transformers(family: str) -> None:
    model, hf_model = make_model(family)
    assert model.kernels
    texts, num_blocks = make_texts([1, 16, 37, 64, 5, 90], 16, model.config.vocab_size)
    assert_matches(run_cuts(model, texts, num_blocks, 16, seed=0), reference(hf_model, texts))


@with_kernels
@pytest.mark.parametrize("block_size", [1, 4, 32])
def test_any_cut_and_block_size_matches(block_size: int) -> None:
    model, hf_model = make_model("llama")
    texts, num_blocks = make_texts([33, 1, 48, 90], block_size, model.config.vocab_size, block_size)
    assert_matches(run_cuts(model, texts, num_blocks, block_size, block_size), reference(hf_model, texts))


@with_kernels
def test_many_tokens_take_the_library_s_products() -> None:
    """More rows than the small-batch kernels take, several tiles of queries, a long cached prefix."""
    model, hf_model = make_model("llama")
    texts, num_blocks = make_texts([300, 140], 16, model.config.vocab_size)
    cache = model.new_cache(num_blocks, 16)
    for sizes in ((200, 40), (100, 100)):
        chunks = [text.chunk(size) for text, size in zip(texts, sizes, strict=True)]
        logits = model.forward(pack(chunks, 16, model.config.num_kv_heads, DEVICE), cache).cpu()
    for row, wanted in zip(logits, reference(hf_model, texts), strict=True):
        torch.testing.assert_close(row, wanted[-1], atol=1e-4, rtol=0)


@pytest.mark.skipif(DEVICE == "cpu", reason="Triton interprets no products of bfloat16; this needs a CUDA GPU")
@with_kernels
def test_bfloat16_stays_near() -> None:
    model, hf_model = make_model("llama", torch.bfloat16)
    texts, num_blocks = make_texts([30, 3, 70], 16, model.config.vocab_size)
    found = run_cuts(model, texts, num_blocks, 16, seed=0)
    wanted = reference(hf_model, texts)
    assert_matches([{p: row.float() for p, row in rows.items()} for rows in found], wanted, tolerance=0.3)


@with_kernels
def test_splits_of_one_long_context_are_merged() -> None:
    """One query over 500 keys, with as many splits as there can be: some of them find no keys at all."""
    model, hf_model = make_model("llama3-rope")
    [text], num_blocks = make_texts([500], 16, model.config.vocab_size)
    cache = model.new_cache(num_blocks, 16)
    for size in (499, 1):
        logits = model.forward(pack([text.chunk(size)], 16, model.config.num_kv_heads, DEVICE), cache)
    torch.testing.assert_close(logits.cpu()[0], reference(hf_model, [text])[0][-1], atol=1e-4, rtol=0)


@with_kernels
def test_rows_that_are_none_touch_nothing() -> None:
    """A decode step padded to a fixed size, as a CUDA graph runs it: the same logits, no other block written."""
    model, _ = make_model("llama")
    cache = model.new_cache(6, 4)
    cache.blocks.fill_(float("nan"))
    model.forward(pack([Chunk([1, 2, 3, 4, 5], 0, [3, 1])], 4, model.config.num_kv_heads, DEVICE), cache)
    before = cache.blocks.clone()
    chunk = Chunk([7], 5, [3, 1])
    wanted = model.forward(pack([chunk], 4, model.config.num_kv_heads, DEVICE), cache)
    after = cache.blocks.clone()
    cache.blocks.copy_(before)

    def ints(*values: int) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=DEVICE)

    positions, tables = ints(5, -1, -1), ints(3, 1, 99, 99, 99, 99).view(3, 2)
    write_rows = ints((1 * 2 * model.config.num_kv_heads) * 4 + 1, -1, -1)
    none = Spans(*(np.zeros(0, np.int64),) * 3)
    batch = PackedBatch(ints(7, 0, 0), positions, write_rows[:, None], none, none, None, [])
    plan = model.attention.decode_plan(positions, tables, cache)
    logits = model.compute(batch, cache, plan, plan)
    torch.testing.assert_close(logits[:1], wanted)
    assert logits.isfinite().all()
    torch.testing.assert_close(cache.blocks, after, equal_nan=True)


@with_kernels
@pytest.mark.parametrize("rows", [1, 5, 31, 70])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_maps_agree(bias: bool, rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(DEVICE)

    x, residual = draw(rows, 72), draw(rows, 40)
    maps = [(draw(40, 72), draw(40) if bias else None) for _ in range(2)]
    ours, plain = (linear_map(*maps[0], kernels=kernels) for kernels in (True, False))
    gated, plain_gated = (gated_map(*maps, kernels=kernels) for kernels in (True, False))
    close = {"atol": 2e-4, "rtol": 1e-4}
    torch.testing.assert_close(ours(x), plain(x), **close)
    torch.testing.assert_close(ours.add_to(residual.clone(), x), plain.add_to(residual, x), **close)
    torch.testing.assert_close(ours.of_norm(x, 1e-6), plain(rms_norm(x, 1e-6)), **close)
    torch.testing.assert_close(gated.of_norm(x, 1e-6), plain_gated.of_norm(x, 1e-6), **close)


def test_float64_and_processors_go_without_kernels() -> None:
    assert not are_usable("cuda", torch.float64)
    config, weights, _ = build("llama")
    assert not Transformer(config, weights).kernels


def test_flash_attention_says_what_it_needs() -> None:
    config = ModelConfig.from_hugging_face(build("llama")[2].config)
    with pytest.raises(UserError, match="'flash' needs a CUDA GPU"):
        attention_backend("flash", config)
