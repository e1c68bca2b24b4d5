"""The checkpoint that ships: it loads offline, is small, and does what its card says."""

import re
from pathlib import Path

import pytest
import torch

from course.model.training.evaluate import continuations, recall_by_distance, share_answered
from course.model.training.tasks import KEYS, VALUES

TINY = Path(__file__).parents[2] / "course" / "model" / "tiny"
MAX_BYTES = 12_000_000


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TINY, local_files_only=True)


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32, local_files_only=True).eval()


def carded_recall() -> dict[int, float]:
    """Recall with 8 pairs by distance, as the card's table states it."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (TINY / "README.md").read_text().splitlines()
        if line.startswith(("| distance in tokens", "| 8 pairs"))
    ]
    distances, shares = (row[1:] for row in rows)
    return {int(d): float(share.rstrip("%")) / 100 for d, share in zip(distances, shares, strict=True)}


def test_it_is_small_and_complete():
    names = {path.name for path in TINY.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert {"tokenizer_config.json", "README.md"} <= names
    assert sum(path.stat().st_size for path in TINY.iterdir()) <= MAX_BYTES


def test_its_shape_is_the_one_of_the_course(model, tokenizer):
    config = model.config
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == ("llama", 256, 6)
    assert (config.num_attention_heads, config.num_key_value_heads, config.vocab_size) == (8, 4, 4096)
    assert config.max_position_embeddings == tokenizer.model_max_length == 4096
    assert config.tie_word_embeddings
    assert model.get_input_embeddings().weight.isfinite().all()


def test_recall_is_as_good_as_the_card_says(model, tokenizer):
    carded = carded_recall()
    assert carded[200] >= 0.95
    # 40 prompts: a sample of 95 % falls below 85 % once in 150 times, but the seed is fixed.
    fresh = recall_by_distance(model, tokenizer, [200], num_prompts=40, seed=7)
    assert fresh[200] >= carded[200] - 0.1


def test_recall_comes_from_the_context(model, tokenizer):
    # Without the pairs in front nobody can know: the share falls to guessing among the names.
    tasks = [(f"Recall {key}", f" {value}") for key, value in zip(KEYS, VALUES, strict=False)]
    assert share_answered(model, tokenizer, tasks) < 0.2


def test_greedy_text_is_words_and_not_one_token(model, tokenizer):
    for prompt, text in continuations(model, tokenizer, num_tokens=40, temperature=0.0):
        words = re.findall(r"[a-zA-Z]+", text)
        assert len(set(words)) >= 5, (prompt, text)
