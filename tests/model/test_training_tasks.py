"""Generated tasks: the answer follows from the prompt, and the distance is the stated one."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from course.model.training.tasks import (
    KEYS,
    VALUES,
    copy_prompt,
    draw_pairs,
    recall_prompt,
    sort_prompt,
)
from course.model.training.tokenizer import load_tokenizer

TINY = Path(__file__).parents[2] / "course" / "model" / "tiny"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY)


def test_tasks_import_without_torch():
    code = "import sys, course.model.training.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_word_stands_in_both_lists_or_twice():
    assert len(set(KEYS + VALUES)) == len(KEYS) + len(VALUES)


def test_pairs_are_drawn_anew():
    rng = random.Random(0)
    assert draw_pairs(8, rng) != draw_pairs(8, rng)
    pairs = draw_pairs(60, rng)
    assert len(set(pairs.values())) == 60


@pytest.mark.parametrize("distance", [4, 10, 50, 200, 1500])
def test_recall_is_answerable_and_as_far_as_stated(tokenizer, distance):
    rng = random.Random(distance)
    for num_pairs in (1, 8, 24):
        prompt, answer = recall_prompt(distance, rng, tokenizer, num_pairs=num_pairs)
        stated = dict(re.findall(r"Meet (\w+) (\w+)\.\n", prompt))
        asked = re.search(r"Recall (\w+)$", prompt).group(1)
        assert answer == f" {stated[asked]}"
        assert len(stated) == num_pairs
        token_ids = tokenizer.encode(prompt)
        (answer_id,) = tokenizer.encode(answer, add_special_tokens=False)
        far = len(token_ids) - 1 - token_ids.index(answer_id)
        assert abs(far - distance) <= 3


def test_recall_takes_filler_from_the_caller(tokenizer):
    prompt, _ = recall_prompt(100, random.Random(0), tokenizer, filler="What a long day it was.\n" * 300)
    assert "long day" in prompt


def test_recall_refuses_what_cannot_be(tokenizer):
    with pytest.raises(ValueError, match="at least 4"):
        recall_prompt(3, random.Random(0), tokenizer)
    with pytest.raises(ValueError, match="num_pairs"):
        recall_prompt(50, random.Random(0), tokenizer, num_pairs=len(KEYS) + 1)


def test_copy_and_sort_answers_follow_from_the_prompt():
    rng = random.Random(0)
    for size in range(2, 20):
        prompt, answer = copy_prompt(size, rng)
        assert prompt == f"Copy:{answer}\nAgain:"
        prompt, answer = sort_prompt(size, rng)
        shown = [int(word) for word in re.findall(r"\d+", prompt)]
        assert [int(word) for word in answer.split()] == sorted(shown)
        assert len(shown) == size
