"""From logits to tokens: greedy, or drawn so that nothing but the request decides the draw.

A token is drawn with one random number that depends on (seed, request id, sample, position) and
on nothing else. So an answer does not change with the company that its request keeps in a batch,
with preemption, or with the policy: that makes schedules comparable and mistakes findable.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from course.errors import UserError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. ``temperature`` 0 takes the most likely token and ignores the rest.

    ``top_k`` keeps the k most likely tokens (0: all), ``top_p`` the smallest set of most likely
    tokens whose probabilities, after temperature and top_k, add up to at least p.
    ``by_request`` makes the request's number part of the draw; without it, the same prompt and the
    same seed give the same answer again, which is what a client means who sends a seed.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    by_request: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature must be 0 (greedy) or positive, got {self.temperature}")
        if self.top_k < 0:
            raise UserError(f"top_k must be 0 (all tokens) or positive, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p must lie in (0, 1], got {self.top_p}")


GREEDY = Sampling()


class Draw(NamedTuple):
    """One token to choose: from which row of the logits, how, and for whom. A ``forbidden`` token is not chosen."""

    row: int
    sampling: Sampling
    request_id: int
    sample: int
    position: int
    forbidden: frozenset[int] = frozenset()


def choose(logits: Tensor, draws: Sequence[Draw]) -> list[int]:
    """Choose one token per draw from logits [rows, vocab_size]. Draws from the same row forbid the same tokens."""
    if any(draw.forbidden for draw in draws):
        logits = logits.clone()
        for draw in draws:
            logits[draw.row, list(draw.forbidden)] = -torch.inf
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    chosen = [tokens[draw.row] for draw in draws]
    random = [i for i, draw in enumerate(draws) if draw.sampling.temperature > 0]
    if random:
        drawn = _draw(logits, [draws[i] for i in random])
        for i, token in zip(random, drawn, strict=True):
            chosen[i] = token
    return chosen


def _draw(logits: Tensor, draws: Sequence[Draw]) -> list[int]:
    """Inverse transform sampling on the sorted probabilities, row by row in float64."""
    device = logits.device
    rows = logits[torch.tensor([draw.row for draw in draws], device=device)].double()

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)[:, None]

    vocab_size = rows.shape[1]
    temperature = column([draw.sampling.temperature for draw in draws])
    top_k = column([draw.sampling.top_k or vocab_size for draw in draws])
    top_p = column([draw.sampling.top_p for draw in draws])
    ordered, tokens = rows.sort(dim=-1, descending=True, stable=True)
    ordered.masked_fill_(torch.arange(vocab_size, device=device) >= top_k, -torch.inf)
    # Dividing differences to the best keeps a tiny temperature from overflowing.
    probabilities = torch.softmax((ordered - ordered[:, :1]) / temperature, dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities.masked_fill_(before >= top_p, 0.0)
    reached = probabilities.cumsum(dim=-1)
    targets = column([uniform(draw) for draw in draws]) * reached[:, -1:]
    index = torch.searchsorted(reached, targets, right=True).clamp_(max=vocab_size - 1)
    return tokens.gather(1, index)[:, 0].tolist()


def uniform(draw: Draw) -> float:
    """A number in [0, 1) that this draw's key determines, as good as random."""
    request_id = draw.request_id if draw.sampling.by_request else 0
    key = struct.pack("<4q", draw.sampling.seed, request_id, draw.sample, draw.position)
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little") / 2**64
