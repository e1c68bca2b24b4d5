"""The tiny model in parts: what the lab hands out, so that the rest can be written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from course.curriculum.lab1_kv_cache.exercises import rms_norm
from course.model.loading import Model, load_model
from course.model.weights import Weights, checkpoint_folder, load_weights

NAMES = {
    "norm_1": "input_layernorm",
    **{name: f"self_attn.{name}_proj" for name in "qkvo"},
    "norm_2": "post_attention_layernorm",
    **{name: f"mlp.{name}_proj" for name in ("gate", "up", "down")},
}
"""What the lab calls a layer's weights, and what the checkpoint does."""


@lru_cache(maxsize=1)
def _checkpoint() -> tuple[Model, Weights]:
    weights = load_weights(checkpoint_folder("tiny"))
    return load_model("tiny"), {name: tensor.float() for name, tensor in weights.items()}


class TinyModel:
    """Tokenizer, embedding, the weights of each layer, and the way from the last row to logits."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._model, weights = _checkpoint()
        self.config = self._model.config
        self.embedding = weights["model.embed_tokens.weight"]
        self.norm = weights["model.norm.weight"]
        layers = range(self.config.num_layers)
        self.layers = [{k: weights[f"model.layers.{i}.{name}.weight"] for k, name in NAMES.items()} for i in layers]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        return self._model.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return self._model.decode(list(tokens))

    def token(self, text: str) -> int:
        """The token of a text that is a single one, such as a full stop."""
        _, token = self.encode(text)
        return token

    def empty_cache(self, capacity: int) -> list[Tensor]:
        """For each layer [2, KV heads, capacity, head_dim], filled with NaN: who looks behind the text sees it."""
        c = self.config
        return [torch.full((2, c.num_kv_heads, capacity, c.head_dim), torch.nan) for _ in self.layers]

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """A row of numbers for each token: [tokens, hidden]."""
        return self.embedding[list(tokens)]

    def logits(self, row: Tensor) -> Tensor:
        """The logits [vocabulary] of a row [hidden] that has been through all layers."""
        return rms_norm(row, self.norm) @ self.embedding.T
