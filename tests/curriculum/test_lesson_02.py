"""Lesson 02: its exercises are sound, and its model computes what the course's own engine computes."""

from __future__ import annotations

import pytest

from course.exercises import load, prove

EXERCISES = load("kv_cache")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)


def test_its_model_writes_what_the_engine_writes() -> None:
    from course.curriculum.lesson_02_kv_cache.tiny import TinyModel, Watched
    from course.engine.local import LocalEngine

    model = Watched(TinyModel())
    prompt = model.model.encode("The function returns")
    answer = next(exercise for exercise in EXERCISES if exercise.name == "generate")(model, prompt, 12)
    [expected] = LocalEngine("tiny", num_blocks=16).generate(prompt, 12, ignore_end=True)
    assert answer == expected.tokens
    assert model.num_tokens == [len(prompt)] + [1] * 11


def test_a_step_behind_a_cache_gives_the_logits_of_the_whole_text() -> None:
    import torch

    from course.curriculum.lesson_02_kv_cache.tiny import TinyModel

    model = TinyModel()
    text = model.encode("A list holds values in order. A list holds")
    whole, _ = model.logits(text, model.empty_cache())
    for cut in (1, len(text) // 2, len(text) - 1):
        _, cache = model.logits(text[:cut], model.empty_cache())
        torch.testing.assert_close(model.logits(text[cut:], cache)[0], whole, rtol=1e-3, atol=1e-3)


def test_the_explorer_runs_the_loop_that_it_is_given() -> None:
    from course.curriculum.lesson_02_kv_cache import explorer

    cached, uncached = explorer.times_s("OPT-13B on one A100", 64, 8, generate=explorer.without_cache)
    assert cached == uncached
    assert explorer.memory_of("Llama-3-70B, 4 GPUs").kv_bytes_per_token == 327_680  # Mooncake (FAST'25), section 5.3.1


def test_the_picture_of_a_mask_frames_what_is_wrong() -> None:
    import torch

    from course.curriculum.lesson_02_kv_cache.exercises import draw_masks, mask_of
    from course.figures.palette import WRONG

    right = mask_of(2, 3)
    assert WRONG not in draw_masks(right, right)
    assert draw_masks(right, torch.ones(2, 5)).count(WRONG) == 1  # row 0 may not see column 4
    assert "yours" not in draw_masks(right, [[True]])
