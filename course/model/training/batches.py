"""Batches: one stage's mix of sequences, stacked."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from course.model.training.recipe import Stage
    from course.model.training.sequences import Sequences


def draw_batch(sequences: Sequences, stage: Stage, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the sequences of one training step.

    Returns token ids (sequences, length + 1) int64 and weights (sequences, length + 1) float32; the weight at
    a position belongs to the prediction of the token at that position.
    """
    rows = []
    length = stage.sequence_tokens
    for _ in range(max(1, stage.step_tokens // length)):
        (kind,) = rng.choices(("prose", "recall", "lists"), (stage.prose, stage.recall, stage.lists))
        if kind == "prose":
            rows.append(sequences.prose_only(length, rng))
        elif kind == "recall":
            rows.append(sequences.recall(length, rng, max_chunk=stage.max_chunk))
        else:
            rows.append(sequences.lists(length, rng, max_words=24))
    ids, weights = zip(*rows, strict=True)
    return torch.tensor(ids), torch.tensor(weights)
