"""Training sequences: prose, and prose with tasks threaded through it. Token ids with a weight for each.

The weight of a token is how much its prediction counts in the loss. What is random (which pair is stated,
which key is asked for) counts nothing: nobody can predict it. The answers count several times, for they are few.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np

from course.model.training import tasks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course.model.training.corpus import Document

MAX_BLOCK = 8  # pairs stated, or asked for, in a row
SYNTAX_WEIGHT = 0.2  # the full stop and line end after an answer: learnt at once, kept alive


class Prose:
    """The documents as one stream of tokens, each document between <|bos|> and <|eos|>."""

    def __init__(self, token_ids: np.ndarray, newline_ids: set[int]) -> None:
        self.token_ids = token_ids
        self._ends_line = np.isin(token_ids, list(newline_ids))

    def window(self, num_tokens: int, rng: random.Random) -> list[int]:
        """Cut num_tokens consecutive tokens anywhere."""
        start = rng.randrange(len(self.token_ids) - num_tokens)
        return self.token_ids[start : start + num_tokens].tolist()

    def lines(self, num_tokens: int, rng: random.Random) -> list[int]:
        """Cut about num_tokens tokens that begin and end at line ends."""
        start = rng.randrange(len(self.token_ids) - num_tokens - 256)
        start += int(np.argmax(self._ends_line[start : start + 128])) + 1
        stop = start + num_tokens
        stop += int(np.argmax(self._ends_line[stop - 1 : stop + 63]))
        return self.token_ids[start:stop].tolist()


def encode_documents(documents: list[Document], tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Encode documents into one stream of token ids, uint16."""
    stream: list[int] = []
    for encoding in tokenizer.backend_tokenizer.encode_batch([item.text + "\n" for item in documents]):
        stream += [*encoding.ids, tokenizer.eos_token_id]
    return np.array(stream, dtype=np.uint16)


class Sequences:
    """Draws training sequences of a given length, as (token ids, weights) of num_tokens + 1 entries."""

    def __init__(self, prose: Prose, tokenizer: PreTrainedTokenizerFast, *, answer_weight: float) -> None:
        self.prose = prose
        self.answer_weight = answer_weight
        self._bos = tokenizer.bos_token_id
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def _encode(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text, add_special_tokens=False)
        return self._known[text]

    def prose_only(self, num_tokens: int, rng: random.Random) -> tuple[list[int], list[float]]:
        """Cut a piece of documentation."""
        return self.prose.window(num_tokens + 1, rng), [1.0] * (num_tokens + 1)

    def recall(self, num_tokens: int, rng: random.Random, *, max_chunk: int) -> tuple[list[int], list[float]]:
        """Thread pairs and questions through prose; chunks of prose have up to max_chunk tokens."""
        ids, weights = [self._bos], [0.0]
        unstated = list(tasks.draw_pairs(rng.randint(4, 60), rng).items())
        stated: list[tuple[str, str]] = []  # not asked for yet, oldest first
        asked: list[tuple[str, str]] = []
        longest = math.log(max_chunk)
        while len(ids) <= num_tokens:
            move = rng.random()
            if move < 0.3 and unstated:
                for _ in range(min(rng.randint(1, MAX_BLOCK), len(unstated))):
                    stated.append(unstated.pop())
                    ids += self._encode("Meet") + self._encode(f" {stated[-1][0]}")
                    ids += self._encode(f" {stated[-1][1]}") + self._encode(".\n")
                    weights += [0.0, 0.0, 0.0, SYNTAX_WEIGHT, SYNTAX_WEIGHT]
            elif move < 0.65 and (stated or asked):
                for _ in range(rng.randint(1, MAX_BLOCK)):
                    if stated and rng.random() < 0.8:
                        # Often the oldest: a question shortens the distance of all later ones for its pair.
                        asked.append(stated.pop(0 if rng.random() < 0.5 else rng.randrange(len(stated))))
                        key, value = asked[-1]
                    else:
                        key, value = rng.choice(asked or stated)
                    ids += self._encode("Recall") + self._encode(f" {key}")
                    ids += self._encode(f" {value}") + self._encode(".\n")
                    weights += [0.0, 0.0, self.answer_weight, SYNTAX_WEIGHT, SYNTAX_WEIGHT]
            else:
                chunk = self.prose.lines(int(math.exp(rng.uniform(math.log(4), longest))), rng)
                ids += chunk
                # The first token of a chunk follows a cut: it cannot be told from what stands before.
                weights += [0.0] + [1.0] * (len(chunk) - 1)
        return ids[: num_tokens + 1], weights[: num_tokens + 1]

    def lists(self, num_tokens: int, rng: random.Random, *, max_words: int) -> tuple[list[int], list[float]]:
        """Fill a sequence with lists to copy and lists to sort."""
        ids, weights = [self._bos], [0.0]
        while len(ids) <= num_tokens:
            if rng.random() < 0.5:
                prompt, answer = tasks.copy_prompt(rng.randint(2, max_words), rng)
            else:
                prompt, answer = tasks.sort_prompt(rng.randint(2, 8), rng)
            question = self._tokenizer.encode(prompt, add_special_tokens=False)
            reply = self._tokenizer.encode(answer, add_special_tokens=False)
            ids += [*question, *reply, *self._encode("\n")]
            weights += [0.0] * len(question) + [1.0] * len(reply) + [SYNTAX_WEIGHT]
        return ids[: num_tokens + 1], weights[: num_tokens + 1]
