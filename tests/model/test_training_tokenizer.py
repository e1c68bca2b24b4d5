"""The tokenizer that ships: it loses nothing and keeps the words of the tasks whole."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.model.training.tasks import KEYS, PAIR_NUM_TOKENS, VALUES, pair_line, question
from course.model.training.tokenizer import VOCABULARY_SIZE, load_tokenizer, split_words

TINY = Path(__file__).parents[2] / "course" / "model" / "tiny"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY)


@settings(max_examples=50, deadline=None)
@given(text=st.text())
def test_any_text_survives(text):
    tokenizer = load_tokenizer_once()
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    # A text may spell a special token; every other one must come back as it was.
    if "<|" not in text:
        assert tokenizer.decode(token_ids) == text


_loaded = []


def load_tokenizer_once():
    if not _loaded:
        _loaded.append(load_tokenizer(TINY))
    return _loaded[0]


def test_words_of_the_tasks_are_single_tokens(tokenizer):
    assert split_words(tokenizer) == []
    assert len(tokenizer) == VOCABULARY_SIZE


def test_a_pair_has_the_promised_number_of_tokens(tokenizer):
    for key, value in zip(KEYS, VALUES, strict=False):
        line = tokenizer.encode(pair_line(key, value), add_special_tokens=False)
        assert len(line) == PAIR_NUM_TOKENS
        asked = tokenizer.encode(question(key), add_special_tokens=False)
        assert len(asked) == 2


def test_pieces_join_into_what_the_whole_would_give(tokenizer):
    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False)

    whole = "Some prose.\nMeet captain Alice.\nRecall captain Alice.\n"
    pieces = ["Some prose.\n", "Meet", " captain", " Alice", ".\n", "Recall", " captain", " Alice", ".\n"]
    assert [token for piece in pieces for token in encode(piece)] == encode(whole)


def test_encoding_begins_with_bos_and_a_chat_is_joined_text(tokenizer):
    assert tokenizer.encode("x")[0] == tokenizer.bos_token_id
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == "<|bos|>one\ntwo"
