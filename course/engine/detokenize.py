"""Tokens become text while they come: a letter may take several tokens, so some must wait."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from course.model.loading import Model


def text_pieces(model: Model, prompt: Iterable[int], tokens: Iterable[int]) -> Iterator[str]:
    """Pieces of text as the tokens of an answer arrive; together they are the whole answer.

    A piece is held back while it ends in half a letter (decoded as U+FFFD).
    """
    known = list(prompt)
    said = model.decode(known)
    for token in tokens:
        known.append(token)
        text = model.decode(known)
        if text.endswith("�"):
            continue
        if piece := text[len(said) :]:
            yield piece
            said = text
    if piece := model.decode(known)[len(said) :]:
        yield piece
