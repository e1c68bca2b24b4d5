"""Generated tasks whose answers can be checked: recall, copying, sorting. Pure Python, no torch.

The recall task is what later lessons break on purpose. A pair is stated once ("Meet captain Alice."), prose
follows, and the pair is asked for ("Recall captain", answer " Alice"). Pairs are drawn anew for every prompt,
so the weights cannot know the answer: it has to come out of the KV cache, and is lost with it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any, Protocol

_KEYS = """actor artist baker banker barber boxer broker butler captain chef clerk coach cook dancer dealer
    doctor driver editor farmer fisher guard guide hunter judge king knight lawyer leader maker mayor miner
    monk nurse officer painter pilot pirate plumber poet porter priest prince queen ranger rider sailor
    scholar senator servant sheriff singer smith soldier spy surgeon tailor teacher trader tutor waiter
    warden wizard worker writer"""
_VALUES = """Adam Alice Anna Arthur Ben Bob Carl Carol Clara Daniel David Diana Edward Ellen Emma Eric Eva Felix Frank
    Fred George Grace Hannah Harry Helen Henry Hugo Ian Irene Jack James Jane John Julia Karl Kate Laura Leo
    Linda Lisa Lucy Maria Mark Martin Mary Max Nina Nora Oliver Oscar Paul Peter Rachel Robert Rosa Ruth Sam
    Sarah Simon Sofia Thomas Tom Victor Walter"""
KEYS = tuple(_KEYS.split())
VALUES = tuple(_VALUES.split())
NUMBERS = tuple(str(number) for number in range(100))
WORDS = KEYS + VALUES

PAIR_NUM_TOKENS = 5  # "Meet", " captain", " Alice", ".", "\n"; the tokenizer is trained so, and a test holds it


class Tokenizer(Protocol):
    """The two calls of a Hugging Face tokenizer that a prompt of a stated length needs."""

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]:
        """Return the token ids of text."""
        ...

    def decode(self, token_ids: list[int]) -> Any:
        """Return the text of token ids."""
        ...


def pair_line(key: str, value: str) -> str:
    """State a pair: one line of PAIR_NUM_TOKENS tokens."""
    return f"Meet {key} {value}.\n"


def question(key: str) -> str:
    """Ask for a pair: the text right before the answer (two tokens)."""
    return f"Recall {key}"


def draw_pairs(num_pairs: int, rng: random.Random) -> dict[str, str]:
    """Draw pairs with keys and values that differ from each other, newly mixed each time."""
    return dict(zip(rng.sample(KEYS, num_pairs), rng.sample(VALUES, num_pairs), strict=True))


@functools.cache
def default_filler() -> str:
    """Prose that every Python installation carries: the documentation topics of the language."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def _filler_text(num_tokens: int, rng: random.Random, tokenizer: Tokenizer, filler: str | None) -> str:
    if num_tokens <= 0:
        return ""
    source = default_filler() if filler is None else filler
    num_chars = 12 * num_tokens + 200  # ample: prose has 3 to 5 characters per token
    start = rng.randrange(max(1, len(source) - num_chars))
    start = source.find("\n", start) + 1  # from the beginning of a line
    token_ids = tokenizer.encode(source[start : start + num_chars], add_special_tokens=False)
    return tokenizer.decode(token_ids[: num_tokens - 1]) + "\n"


def recall_prompt(
    distance_tokens: int,
    rng: random.Random,
    tokenizer: Tokenizer,
    *,
    num_pairs: int = 8,
    filler: str | None = None,
) -> tuple[str, str]:
    """Build a prompt that asks for a pair stated distance_tokens before, among num_pairs of them.

    The distance counts the tokens of the prompt after the value; cutting filler at a token that does not survive
    re-tokenizing can shift it by one or two. Returns (prompt, answer); the answer is one token, e.g. " Alice".
    filler is the prose to cut from; by default the documentation topics that ship with Python.
    """
    if not 1 <= num_pairs <= len(KEYS):
        raise ValueError(f"num_pairs must be between 1 and {len(KEYS)}, not {num_pairs}")
    pairs = draw_pairs(num_pairs, rng)
    lines = [pair_line(key, value) for key, value in pairs.items()]
    room_tokens = distance_tokens - 4  # ".", "\n" after the value and the two tokens of the question
    if room_tokens < 0:
        raise ValueError(f"distance_tokens must be at least 4, not {distance_tokens}")
    num_after = rng.randint(0, min(num_pairs - 1, room_tokens // PAIR_NUM_TOKENS))
    target = num_pairs - 1 - num_after
    key, value = list(pairs.items())[target]
    between = _filler_text(room_tokens - num_after * PAIR_NUM_TOKENS, rng, tokenizer, filler)
    return "".join(lines) + between + question(key), f" {value}"


def copy_prompt(num_words: int, rng: random.Random) -> tuple[str, str]:
    """Ask for a list of num_words distinct words to be written again. Returns (prompt, answer)."""
    words = " ".join(rng.sample(WORDS, num_words))
    return f"Copy: {words}\nAgain:", f" {words}"


def sort_prompt(num_numbers: int, rng: random.Random) -> tuple[str, str]:
    """Ask for num_numbers distinct numbers below 100 in rising order. Returns (prompt, answer)."""
    numbers = rng.sample(range(len(NUMBERS)), num_numbers)
    shown = " ".join(map(str, numbers))
    return f"Sort: {shown}\nSorted:", " " + " ".join(map(str, sorted(numbers)))


def vocabulary_lines(rng: random.Random, num_lines: int) -> Sequence[str]:
    """Lines in which every word of the tasks is frequent, for training the tokenizer."""
    lines = []
    for _ in range(num_lines):
        lines.append(pair_line(rng.choice(KEYS), rng.choice(VALUES)))
        lines.append(f"{question(rng.choice(KEYS))} {rng.choice(VALUES)}.\n")
        for prompt, answer in (copy_prompt(2, rng), sort_prompt(6, rng)):
            lines.append(f"{prompt}{answer}\n")
    return lines
