"""The engine's doors: generate, stream, submit, cancel; and calls that are wrong."""

from __future__ import annotations

import math
import threading

import pytest
import torch

from course.engine.local import LocalEngine
from course.engine.sampling import Sampling
from course.errors import UserError
from course.serving.cluster import StalledError
from course.serving.plan import Plan, PlanError
from course.serving.sequence import State
from course.serving.view import InstanceView
from tests.engine.conftest import make_engine, make_model, make_prompts, reference_answers, run_to_end

PROMPTS = make_prompts()


def test_generate_takes_one_prompt_or_several() -> None:
    engine = make_engine()
    [one] = engine.generate(PROMPTS[0], 5)
    several = engine.generate(PROMPTS[:3], 5)
    assert one.tokens == several[0].tokens == reference_answers()[0][:5]
    assert [answer.state for answer in several] == [State.FINISHED] * 3
    assert engine.generate([], 5) == []


def test_stream_gives_tokens_while_others_go_on() -> None:
    engine = make_engine()
    [other] = engine.submit(PROMPTS[2], 10)
    seen = []
    for token in engine.stream(PROMPTS[0], 8):
        seen.append(token)
        assert engine.num_unfinished >= 1 or len(seen) == 8
    assert seen == reference_answers()[0][:8]
    run_to_end(engine)
    assert other.tokens == reference_answers()[2][:10]


def test_leaving_a_stream_early_gives_its_memory_back() -> None:
    engine = make_engine()
    stream = engine.stream(PROMPTS[4], 50)
    assert next(stream) == reference_answers()[4][0]
    stream.close()
    run_to_end(engine)


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5])
@pytest.mark.parametrize("num_host_blocks", [0, 64])
def test_cancel_in_mid_run_frees_blocks_and_disturbs_nobody(num_steps: int, num_host_blocks: int) -> None:
    preempt = "swap" if num_host_blocks else "recompute"
    engine = make_engine(num_blocks=14, block_size=8, num_host_blocks=num_host_blocks, preempt=preempt)
    answers = [engine.submit(prompt, 16)[0] for prompt in PROMPTS]
    for _ in range(num_steps):
        engine.advance()
    for answer in answers[::2]:
        engine.cancel(answer.request_id)
        engine.cluster.check_integrity()
    engine.cancel(answers[0].request_id)  # again: no error
    engine.cancel(12345)
    run_to_end(engine)
    assert all(answer.state is State.CANCELLED for answer in answers[::2] if len(answer.tokens) < 16)
    for answer, wanted in zip(answers[1::2], reference_answers()[1::2], strict=True):
        assert answer.tokens == wanted[:16]


def test_an_interrupted_step_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(num_blocks=28, block_size=4, num_host_blocks=160, preempt="swap")
    answers = [engine.submit(prompt, 12)[0] for prompt in PROMPTS]
    network, forward = engine.executor.network, engine.executor.network.forward
    count = 0

    def interrupted(*arguments: object) -> torch.Tensor:
        nonlocal count
        count += 1
        logits = forward(*arguments)
        if count % 3 == 0:
            raise KeyboardInterrupt
        return logits

    monkeypatch.setattr(network, "forward", interrupted)
    while engine.num_unfinished:
        try:
            engine.step()
        except KeyboardInterrupt:
            engine.cluster.check_integrity()
    for answer, wanted in zip(answers, reference_answers(), strict=True):
        assert answer.tokens == wanted[:12]


def test_generate_stops_at_the_end_token_unless_told_otherwise() -> None:
    model = make_model()
    full = reference_answers()[2][:20]
    end = full[7]
    first = full.index(end)
    object.__setattr__(model.network.config, "end_tokens", (end,))
    try:
        engine = make_engine()
        assert engine.generate(PROMPTS[2], 20)[0].tokens == full[: first + 1]
        assert engine.generate(PROMPTS[2], 20, ignore_end=True)[0].tokens == full
        answers = engine.submit(PROMPTS[2], 20, n=2, min_new_tokens=first + 3)
        run_to_end(engine)
        for answer in answers:
            assert len(answer.tokens) >= first + 3
            assert end not in answer.tokens[: first + 3]
    finally:
        object.__setattr__(model.network.config, "end_tokens", ())


def test_sampled_answers_depend_on_nothing_but_their_request() -> None:
    sampling = Sampling(temperature=1.0, top_k=50, top_p=0.95, seed=7)
    found = []
    for scheduler, slots, num_blocks in [("chunked-prefill", 2, 64), ("prefill-first", 8, 64), ("decode-first", 8, 12)]:
        engine = make_engine(scheduler, num_blocks, max_num_sequences=slots)
        found.append([answer.tokens for answer in engine.generate(PROMPTS, 12, sampling, n=2)])
    assert found[0] == found[1] == found[2]
    for first, second in zip(found[0][::2], found[0][1::2], strict=True):
        assert first != second
    other_seed = make_engine().generate(PROMPTS, 12, Sampling(1.0, 50, 0.95, seed=8), n=2)
    assert [answer.tokens for answer in other_seed] != found[0]


def test_n_answers_share_their_prompt() -> None:
    engine = make_engine(num_blocks=64, block_size=4)
    engine.submit(PROMPTS[2], 12, Sampling(temperature=1.0), n=4)  # 37 tokens: 9 full blocks and one that is copied
    while engine.instance.waiting or len(engine.instance.running) < 4:
        engine.step()
    engine.step()
    engine.cluster.check_integrity()
    assert engine.instance.memory.pool.num_used_blocks == 9 + 4
    run_to_end(engine)


WRONG_CALLS = {
    "empty": (([], 5), "empty"),
    "empty text": (("", 5), "tokenizer|empty"),
    "text without tokenizer": (("hello", 5), "no tokenizer"),
    "token too large": (([1, 199], 5), "199"),
    "token negative": (([1, -1], 5), "-1"),
    "token no number": (([1, "two"], 5), "two"),
    "too long": (([1] * 510, 5), "context of 512"),
    "no new tokens": (([1], 0), "max_new_tokens"),
    "no answers": (([1], 5, Sampling(), 0), "n must be"),
    "never fits": (([1] * 300, 100), "give it more blocks"),
}


def test_the_tokens_that_the_prefix_cache_saves_are_counted() -> None:
    engine = make_engine(prefix_cache=True)
    for _ in range(2):  # 64 tokens: all blocks but the last are found, for the last token must be computed
        engine.generate(make_prompts()[4], 3, n=2)
    assert (engine.num_looked_up_tokens, engine.num_cached_tokens) == (128, 48)
    engine.start_over()
    assert (engine.num_looked_up_tokens, engine.num_cached_tokens) == (0, 0)


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_wrong_call_says_so_and_loses_nothing(name: str) -> None:
    arguments, words = WRONG_CALLS[name]
    engine = make_engine(num_blocks=20)
    [running] = engine.submit(PROMPTS[2], 10)
    engine.step()
    with pytest.raises(UserError, match=words):
        engine.submit(*arguments)
    engine.cluster.check_integrity()
    run_to_end(engine)
    assert running.tokens == reference_answers()[2][:10]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_blocks": 0}, "num_blocks"),
        ({"block_size": 0}, "block_size"),
        ({"scheduler": "fifo"}, "unknown scheduler"),
        ({"model": "no-such-model"}, "no model"),
    ],
)
def test_an_engine_that_cannot_be(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        LocalEngine(**{"model": make_model(), **arguments})


@pytest.mark.parametrize("arguments", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}])
def test_sampling_out_of_range(arguments: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(arguments))):
        Sampling(**arguments)


class Broken:
    """A learner's scheduler: plans nonsense while ``bad`` is set, and nothing at all while ``lazy``."""

    def __init__(self) -> None:
        self.bad, self.lazy = False, False

    def schedule(self, view: InstanceView) -> Plan:
        draft = view.draft()
        if self.bad:
            return Plan(chunks=[(view.running[0], 10_000)])
        for sequence in [] if self.lazy else [*view.running, *view.waiting]:
            draft.add(sequence, draft.tokens_left(sequence))
        return draft.plan


def test_a_scheduler_that_plans_nonsense_loses_nothing() -> None:
    scheduler = Broken()
    engine = LocalEngine(make_model(), scheduler, num_blocks=64)
    [answer] = engine.submit(PROMPTS[2], 10)
    engine.step()
    scheduler.bad = True
    with pytest.raises(PlanError):
        engine.step()
    scheduler.bad = False
    run_to_end(engine)
    assert answer.tokens == reference_answers()[2][:10]


def test_a_scheduler_that_plans_nothing_is_named() -> None:
    scheduler = Broken()
    scheduler.lazy = True
    engine = LocalEngine(make_model(), scheduler, num_blocks=64)
    with pytest.raises(StalledError, match="Broken plans nothing"):
        engine.generate(PROMPTS[0], 5)
    scheduler.lazy = False
    assert engine.generate(PROMPTS[0], 5)[0].tokens == reference_answers()[0][:5]


def test_a_wait_ends_when_another_thread_wakes_the_engine() -> None:
    engine = make_engine()
    waker = threading.Timer(0.05, engine.wake)
    waker.start()
    assert engine.advance(math.inf) == []
    waker.join()
    engine.wake()  # before the wait: it is not lost
    assert engine.advance(math.inf) == []


def test_closing_cancels_what_is_unfinished() -> None:
    with make_engine() as engine:
        [answer] = engine.submit(PROMPTS[0], 10)
        engine.advance()
    assert answer.state is State.CANCELLED
    assert engine.num_unfinished == 0
