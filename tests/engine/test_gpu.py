"""The engine on a CUDA GPU: the same tokens, from our kernels and from CUDA graphs."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from course.engine.forward import LADDER, GraphedForwardPass, forward_pass
from course.engine.local import LocalEngine
from course.engine.sampling import Sampling
from course.model.config import ModelConfig, benchmark_shape
from course.model.loading import Model, load_model
from course.model.packing import Chunk
from course.model.transformer import Transformer
from course.model.weights import TINY_FOLDER, random_weights
from tests.engine.conftest import HF_CONFIG, hf_model, make_engine, make_prompts, reference_answers
from tests.engine.test_identity import assert_identical, count_near_ties, serve_all

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@cache
def gpu_model(dtype: torch.dtype = torch.float32) -> Model:
    config = ModelConfig.from_hugging_face(HF_CONFIG)
    return Model("random", Transformer(config, random_weights(config, 3), dtype=dtype, device="cuda"))


def assert_near_identical(found: list[list[int]]) -> None:
    assert count_near_ties(hf_model(), make_prompts(), found, reference_answers()) <= 1


def test_float64_is_exact() -> None:
    """No kernels of ours, no graphs: gathered blocks and torch's attention."""
    assert not gpu_model(torch.float64).network.kernels
    assert_identical(serve_all(make_engine(model=gpu_model(torch.float64))))


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("scheduler", ["chunked-prefill", "prefill-first", "orca"])
def test_float32_through_kernels_and_graphs(scheduler: str, block_size: int) -> None:
    engine = make_engine(scheduler, 1024 // block_size, block_size, model=gpu_model())
    assert isinstance(engine.executor.forward, GraphedForwardPass)
    assert_near_identical(serve_all(engine))


@pytest.mark.parametrize("preempt", ["recompute", "swap"])
def test_constant_preemption(preempt: str) -> None:
    engine = make_engine(
        "chunked-prefill", 28, 4, model=gpu_model(), num_host_blocks=160, preempt=preempt, watermark=0.0
    )
    assert_near_identical(serve_all(engine))
    assert sum(record.num_preemptions for record in engine.recorder.records) > 0


def test_prefix_cache() -> None:
    engine = make_engine(num_blocks=64, block_size=4, prefix_cache=True, model=gpu_model())
    prompt, wanted = make_prompts()[4], reference_answers()[4][:12]
    for _ in range(2):
        assert engine.generate(prompt, 12)[0].tokens == wanted
    twins = engine.generate([prompt, prompt, prompt[:33]], 12)
    assert [answer.tokens for answer in twins[:2]] == [wanted, wanted]


def test_sampled_tokens_are_those_of_a_processor() -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=5)
    answers = [
        make_engine(model=model).generate(make_prompts()[2], 20, sampling)[0].tokens for model in (gpu_model(), None)
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 3, 8, 33, 130])
def test_graphs_equal_the_eager_step(size: int, dtype: torch.dtype) -> None:
    """Any batch size, also those between the steps of the ladder; blocks of others stay as they are."""
    network = gpu_model(dtype).network
    cache = network.new_cache(3 * size + 8, 16)
    generator = torch.Generator("cuda").manual_seed(size)
    cache.blocks.normal_(generator=generator)
    order = torch.randperm(3 * size + 8, generator=torch.Generator().manual_seed(size)).tolist()
    chunks = [Chunk([i % 199], (7 * i) % 48, order[3 * i : 3 * i + 3]) for i in range(size)]
    forward = forward_pass(network, cache)
    assert isinstance(forward, GraphedForwardPass)
    before = cache.blocks.clone()
    wanted = super(GraphedForwardPass, forward).__call__(chunks)
    eager_cache = cache.blocks.clone()
    for _ in range(2):  # captured and replayed, then only replayed
        cache.blocks.copy_(before)
        logits = forward(chunks)
        close = {"atol": 1e-5, "rtol": 1e-5} if dtype is torch.float32 else {"atol": 0.1, "rtol": 0.05}
        torch.testing.assert_close(logits, wanted, **close)
        torch.testing.assert_close(cache.blocks, eager_cache, **close)
        untouched = order[3 * size :]
        assert torch.equal(cache.blocks[:, untouched], before[:, untouched])


def test_larger_batches_than_any_graph_are_eager() -> None:
    network = gpu_model().network
    size = LADDER[-1] + 3
    cache = network.new_cache(size, 4)
    forward = forward_pass(network, cache)
    assert forward([Chunk([5], 0, [i]) for i in range(size)]).shape == (size, HF_CONFIG.vocab_size)


def test_bfloat16_logits_stay_near_float32() -> None:
    config = benchmark_shape("small")
    weights = random_weights(config)
    prompt = list(range(1, 200))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        network = Transformer(config, weights, dtype=dtype, device="cuda")
        forward = forward_pass(network, network.new_cache(16, 16))
        table = list(range(15, 1, -1))
        forward([Chunk(prompt[:-1], 0, table, sampled=False)])
        found.append(forward([Chunk(prompt[-1:], len(prompt) - 1, table)])[0].float())
    assert (found[0] - found[1]).norm() / found[0].norm() < 0.03


@pytest.mark.skipif(not (TINY_FOLDER / "model.safetensors").exists(), reason="the tiny model is not trained yet")
def test_the_trained_model_answers_as_on_a_processor() -> None:
    texts = ["def read(", "Return the", "A list of strings. " * 12, "The", "class Sequence:\n    pass\n" * 4]
    found = []
    for device in ("cpu", "cuda"):
        engine = LocalEngine(load_model("tiny", device=device), num_blocks=24, block_size=16)
        found.append([answer.tokens for answer in engine.generate(texts, 40, ignore_end=True)])
    assert sum(ours != theirs for ours, theirs in zip(*found, strict=True)) <= 1
