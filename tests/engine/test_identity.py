"""Whatever the policy, the block size, the budget or the memory: the answer is the model's answer."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from course.engine.local import LocalEngine
from course.model.weights import TINY_FOLDER
from course.serving.schedulers import SCHEDULERS
from tests.engine.conftest import (
    ANSWER_LENGTHS,
    hf_model,
    make_engine,
    make_model,
    make_prompts,
    reference_answers,
    run_to_end,
)


def serve_all(engine: LocalEngine) -> list[list[int]]:
    """All prompts at once, each with its own answer length."""
    answers = [engine.submit(prompt, length)[0] for prompt, length in zip(make_prompts(), ANSWER_LENGTHS, strict=True)]
    run_to_end(engine)
    return [answer.tokens for answer in answers]


def assert_identical(found: list[list[int]]) -> None:
    for tokens, length, wanted in zip(found, ANSWER_LENGTHS, reference_answers(), strict=True):
        assert tokens == wanted[:length]


def test_reference_answers_vary() -> None:
    """Otherwise identical tokens would prove nothing."""
    assert all(len(set(answer)) > 5 for answer in reference_answers())


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_every_policy_and_block_size(scheduler: str, block_size: int) -> None:
    assert_identical(serve_all(make_engine(scheduler, 1024 // block_size, block_size)))


@pytest.mark.parametrize("token_budget", [1, 7, 16, 64, 1000])
def test_any_token_budget(token_budget: int) -> None:
    assert_identical(serve_all(make_engine(token_budget=token_budget)))


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_any_number_of_slots(slots: int) -> None:
    assert_identical(serve_all(make_engine(max_num_sequences=slots)))


@pytest.mark.parametrize("preempt", ["recompute", "swap"])
@pytest.mark.parametrize("scheduler", [s for s in SCHEDULERS if "preempt" in signature(SCHEDULERS[s]).parameters])
@pytest.mark.parametrize("block_size", [4, 16])
def test_constant_preemption(scheduler: str, preempt: str, block_size: int) -> None:
    num_blocks = 112 // block_size  # the longest request alone needs 75 tokens
    engine = make_engine(
        scheduler, num_blocks, block_size, num_host_blocks=640 // block_size, preempt=preempt, watermark=0.0
    )
    assert_identical(serve_all(engine))
    assert sum(record.num_preemptions for record in engine.recorder.records) > 0


def test_swap_and_prefix_cache_together() -> None:
    engine = make_engine(num_blocks=28, block_size=4, num_host_blocks=160, prefix_cache=True, preempt="swap")
    assert_identical(serve_all(engine))


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
@pytest.mark.parametrize("block_size", [4, 16])
def test_full_prefix_hit(scheduler: str, block_size: int) -> None:
    """The same prompt again, an exact multiple of the block: at least one token must be computed."""
    engine = make_engine(scheduler, 256 // block_size, block_size, prefix_cache=True)
    prompt, wanted = make_prompts()[4], reference_answers()[4][:12]
    for _ in range(2):
        assert engine.generate(prompt, 12)[0].tokens == wanted
    twins = engine.generate([prompt, prompt, prompt[:33]], 12)
    assert [answer.tokens for answer in twins[:2]] == [wanted, wanted]
    engine.cluster.check_integrity()


def test_answers_are_found_by_later_prompts() -> None:
    """A conversation's next turn starts from the blocks that the last answer completed."""
    engine = make_engine(num_blocks=64, block_size=4, prefix_cache=True)
    prompt = make_prompts()[2]
    first = engine.generate(prompt, 15)[0]
    longer = [*prompt, *first.tokens, 7]
    [answer] = engine.submit(longer, 8)
    engine.step()
    [sequence] = engine.instance.sequences
    assert sequence.num_computed_tokens == len(longer)
    assert len(prompt) + 15 - 4 <= (len(longer) - 1) // 4 * 4
    run_to_end(engine)
    assert answer.tokens == make_engine().generate(longer, 8)[0].tokens


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_n_greedy_answers_are_equal(scheduler: str) -> None:
    engine = make_engine(scheduler, 256, 4)
    for prompt, wanted in zip(make_prompts()[:5], reference_answers(), strict=False):
        answers = engine.generate(prompt, 10, n=3)
        assert [answer.tokens for answer in answers] == [wanted[:10]] * 3
    engine.cluster.check_integrity()


def count_near_ties(model: Any, prompts: list[list[int]], found: list[list[int]], wanted: list[list[int]]) -> int:
    """Answers that part from the reference; each may do so only where two tokens are about equally likely."""
    num_ties = 0
    for prompt, tokens, expected in zip(prompts, found, wanted, strict=True):
        differ = [i for i, token in enumerate(tokens) if token != expected[i]]
        if not differ:
            continue
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *expected[: differ[0]]]])).logits[0, -1]
        best, second = logits.topk(2).values
        assert best - second < 1e-4
        num_ties += 1
    return num_ties


def test_float32_differs_only_at_near_ties() -> None:
    engine = make_engine(model=make_model(torch.float32))
    assert count_near_ties(hf_model(), make_prompts(), serve_all(engine), reference_answers()) <= 1


def test_the_trained_model_answers_as_it_does_in_transformers() -> None:
    if not (TINY_FOLDER / "model.safetensors").exists():
        pytest.skip("the tiny model is not trained yet")
    reference = AutoModelForCausalLM.from_pretrained(TINY_FOLDER, dtype=torch.float32)
    engine = LocalEngine("tiny", num_blocks=24, block_size=16)  # too few for all: some are preempted
    texts = ["def read(", "Return the", "A list of strings. " * 12, "The", "class Sequence:\n    pass\n" * 4]
    prompts = [engine.model.encode(text) for text in texts]
    answers = engine.generate(prompts, 40, ignore_end=True)
    reference.generation_config.eos_token_id = None  # both write on past the end of text
    config = GenerationConfig(max_new_tokens=40, do_sample=False, pad_token_id=0)
    wanted = []
    for prompt in prompts:
        tokens = torch.tensor([prompt])
        out = reference.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=config)
        wanted.append(out[0, len(prompt) :].tolist())
    assert count_near_ties(reference, prompts, [answer.tokens for answer in answers], wanted) <= 1
    assert answers[0].text == engine.model.decode(wanted[0])
