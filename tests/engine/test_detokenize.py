"""Text of tokens as they come: whole letters, nothing lost, nothing twice."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from course.engine.detokenize import Detokenizer, text_pieces
from course.model.loading import Model, load_model

TOKENS = st.lists(st.integers(0, 4095), max_size=40)


@cache
def tiny() -> Model:
    return load_model("tiny")


def whole_answer(prompt: list[int], tokens: list[int]) -> str:
    return tiny().decode([*prompt, *tokens])[len(tiny().decode(prompt)) :]


@given(TOKENS, TOKENS)
@settings(max_examples=300)
def test_the_pieces_are_the_whole_answer_whatever_the_tokens(prompt: list[int], tokens: list[int]) -> None:
    assert "".join(text_pieces(tiny(), prompt, tokens)) == whole_answer(prompt, tokens)


@given(st.text(max_size=30), st.text(min_size=1, max_size=30))
@settings(max_examples=300)
def test_no_piece_holds_half_a_letter(before: str, text: str) -> None:
    prompt = tiny().tokenizer(before)["input_ids"]
    tokens = tiny().tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = list(text_pieces(tiny(), prompt, tokens))
    assert "".join(pieces) == whole_answer(prompt, tokens)
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)


def test_a_letter_of_several_tokens_comes_at_once() -> None:
    tokens = tiny().tokenizer("日本 👩‍🚀!", add_special_tokens=False)["input_ids"]
    detokenizer = Detokenizer(tiny(), [])
    pieces = [detokenizer.add(token) for token in tokens]
    assert "".join(pieces) + detokenizer.finish() == "日本 👩‍🚀!"
    assert "" in pieces
    assert "日" in pieces


def test_a_long_answer_is_not_decoded_again_and_again() -> None:
    """The cost of a token does not grow with the answer: what is decoded is counted, not timed."""
    counted = []

    class Counting:
        def decode(self, tokens: list[int]) -> str:
            counted.append(len(tokens))
            return tiny().decode(tokens)

    words = tiny().tokenizer("The default value is a list of names. " * 30)["input_ids"]
    assert "".join(text_pieces(Counting(), [], words)) == tiny().decode(words)  # type: ignore[arg-type]
    assert max(counted) < 12
