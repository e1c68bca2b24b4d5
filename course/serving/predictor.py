"""How long an answer will be: what policies that place by predicted length are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from course.errors import UserError
from course.serving.chance import draw
from course.workload.request import Request


class LengthPredictor(Protocol):
    """Says before an answer is written how many tokens it will at least have."""

    def predict(self, request: Request) -> int:
        """Tokens of the answer, at least; 0 where nothing is known."""
        ...


class Declared:
    """Believes what the client declares: ``max_new_tokens``."""

    def predict(self, request: Request) -> int:
        """The declared limit."""
        return request.max_new_tokens


class Buckets:
    """A classifier that is right so often: it names a bucket of ``width`` tokens, whose lower end counts.

    TetriInfer trains a small model for this (arXiv 2401.11181; 74.9 % right with buckets of 200 tokens). Here the
    true ``lengths`` by request id are given, and a request is misplaced with probability 1 - ``accuracy``, into any
    other bucket up to its declared limit alike. The same ``seed`` misplaces the same requests.
    """

    def __init__(self, lengths: Mapping[int, int], width: int = 200, accuracy: float = 0.749, seed: int = 0) -> None:
        if width < 1:
            raise UserError(f"width of a bucket must be at least 1 token, got {width}")
        if not 0 <= accuracy <= 1:
            raise UserError(f"accuracy is the share of right predictions, from 0 to 1, got {accuracy}")
        self.lengths = lengths
        self.width = width
        self.accuracy = accuracy
        self.seed = seed

    def predict(self, request: Request) -> int:
        """The lower end of the predicted bucket."""
        bucket = self.lengths[request.id] // self.width
        others = request.max_new_tokens // self.width  # buckets up to the limit, less the right one
        if others and draw(10**9, self.seed, request.id, 0) >= self.accuracy * 10**9:
            wrong = draw(others, self.seed, request.id, 1)
            bucket = wrong + (wrong >= bucket)
        return bucket * self.width
