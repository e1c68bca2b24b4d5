"""A small untied model, ours and transformers', and engines around it."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from course.engine.local import LocalEngine
from course.model.config import ModelConfig
from course.model.loading import Model
from course.model.transformer import Transformer
from course.model.weights import random_weights
from course.serving.schedulers import make_scheduler

torch.set_num_threads(1)

HF_CONFIG = LlamaConfig(
    vocab_size=199,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    tie_word_embeddings=False,
    eos_token_id=None,
    bos_token_id=None,
)
# Lengths that small engines have failed on: one token, exact multiples of a block, and no order.
PROMPT_LENGTHS = [1, 16, 37, 4, 64, 23, 3, 48]
ANSWER_LENGTHS = [20, 9, 24, 1, 12, 30, 17, 16]


@cache
def make_model(dtype: torch.dtype = torch.float64, seed: int = 3) -> Model:
    config = ModelConfig.from_hugging_face(HF_CONFIG)
    network = Transformer(config, random_weights(config, seed), dtype=dtype)
    return Model("random", network)


@cache
def hf_model(seed: int = 3) -> LlamaForCausalLM:
    model = LlamaForCausalLM(HF_CONFIG).double().eval()
    model.load_state_dict(random_weights(make_model().config, seed))
    return model


@cache
def make_prompts(seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, HF_CONFIG.vocab_size, length).tolist() for length in PROMPT_LENGTHS]


@cache
def reference_answers(num_tokens: int = max(ANSWER_LENGTHS)) -> list[list[int]]:
    """What transformers answers greedily, one prompt at a time, in float64."""
    greedy = GenerationConfig(max_new_tokens=num_tokens, do_sample=False, pad_token_id=0)
    answers = []
    for prompt in make_prompts():
        tokens = torch.tensor([prompt])
        # Without a mask, transformers would take prompt tokens that equal the padding for padding.
        out = hf_model().generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=greedy)
        answers.append(out[0, len(prompt) :].tolist())
    return answers


def make_engine(
    scheduler: str = "chunked-prefill",
    num_blocks: int = 64,
    block_size: int = 16,
    *,
    model: Model | None = None,
    num_host_blocks: int = 0,
    prefix_cache: bool = False,
    **policy: object,
) -> LocalEngine:
    return LocalEngine(
        model or make_model(),
        make_scheduler(scheduler, **policy),
        num_blocks=num_blocks,
        block_size=block_size,
        num_host_blocks=num_host_blocks,
        prefix_cache=prefix_cache,
    )


def run_to_end(engine: LocalEngine) -> None:
    """Step until nothing is left, with the control plane's books checked after every step."""
    for _ in range(20_000):
        engine.cluster.check_integrity()
        if not engine.num_unfinished:
            break
        engine.advance()
    assert engine.num_unfinished == 0
    pool = engine.instance.memory.pool
    assert pool.num_free_blocks == pool.num_blocks
    assert not engine.texts
    assert not engine.answers
