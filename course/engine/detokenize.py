"""Tokens become text while they come: a letter may take several tokens, so some must wait."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from course.model.loading import Model

HALF_A_LETTER = "\N{REPLACEMENT CHARACTER}"
NUM_CONTEXT_TOKENS = 8


class Detokenizer:
    """Turns the tokens of one answer into text, piece by piece. The pieces together are the whole answer.

    What ends in half a letter (decoded as U+FFFD) waits until the letter is whole. Tokens are decoded
    behind a few that came before, because some tokenizers drop the space in front of a text's first
    word; not behind all of them, or a long answer would take quadratic time.
    """

    def __init__(self, model: Model, prompt: Sequence[int]) -> None:
        self._model = model
        self._tokens = list(prompt[-NUM_CONTEXT_TOKENS:])
        self._num_context = len(self._tokens)
        self._said = model.decode(self._tokens)

    def add(self, token: int) -> str:
        """The text that is complete now that this token has come, perhaps none."""
        self._tokens.append(token)
        text = self._model.decode(self._tokens)
        whole = text.rstrip(HALF_A_LETTER)
        piece = whole[len(self._said) :]
        if piece and len(whole) == len(text):
            del self._tokens[: self._num_context]  # what has just been said is the context of the next
            self._num_context = len(self._tokens)
            self._said = self._model.decode(self._tokens)
        else:
            self._said += piece
        return piece

    def finish(self) -> str:
        """What still waits now that no more will come."""
        return self._model.decode(self._tokens)[len(self._said) :]


def text_pieces(model: Model, prompt: Sequence[int], tokens: Iterable[int]) -> Iterator[str]:
    """Pieces of text as the tokens of an answer arrive; see `Detokenizer`."""
    detokenizer = Detokenizer(model, prompt)
    for token in tokens:
        if piece := detokenizer.add(token):
            yield piece
    if piece := detokenizer.finish():
        yield piece
