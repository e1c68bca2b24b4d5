"""The tiny model with its attention left open, and what goes through a model, noted step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from course.curriculum.lesson_02_kv_cache import exercises
from course.model.loading import load_model
from course.model.norm import rms_norm
from course.model.weights import Weights, checkpoint_folder, load_weights

LayerCache = tuple[Tensor, Tensor]
"""Keys and values of one layer, each [KV heads, tokens, head_dim]."""

Attend = Callable[[Tensor, Tensor, Tensor, LayerCache], tuple[Tensor, LayerCache]]


@lru_cache(maxsize=1)
def _weights() -> Weights:
    return {name: tensor.float() for name, tensor in load_weights(checkpoint_folder("tiny")).items()}


@lru_cache(maxsize=1)
def _shape_and_tokenizer() -> tuple[Any, Any]:
    model = load_model("tiny")
    return model.config, model.tokenizer


class TinyModel:
    """The course's tiny model. ``attend`` computes the attention of a layer; without one, the reference does."""

    def __init__(self, attend: Attend | None = None) -> None:
        torch.set_num_threads(1)
        self.attend: Attend = attend or exercises.attend
        self.weights = _weights()
        self.config, self.tokenizer = _shape_and_tokenizer()

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        return list(self.tokenizer(text)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def empty_cache(self) -> list[LayerCache]:
        """For every layer, keys and values of no tokens."""
        none = torch.zeros(self.config.num_kv_heads, 0, self.config.head_dim)
        return [(none, none)] * self.config.num_layers

    def step(self, tokens: Sequence[int], cache: list[LayerCache]) -> tuple[int, list[LayerCache]]:
        """Put new tokens through the model, behind those in the cache; the token that follows, and the longer cache."""
        logits, cache = self.logits(tokens, cache)
        return int(logits.argmax()), cache

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int], cache: list[LayerCache]) -> tuple[Tensor, list[LayerCache]]:
        """As `step`, with a number for every token that could follow."""
        x = self.weights["model.embed_tokens.weight"][list(tokens)]
        grown = []
        for i, layer_cache in enumerate(cache):
            mixed, layer_cache = self._attention(i, self._normed(x, f"layers.{i}.input_layernorm"), layer_cache)
            x = x + mixed
            x = x + self._mlp(i, self._normed(x, f"layers.{i}.post_attention_layernorm"))
            grown.append(layer_cache)
        last = self._normed(x[-1:], "norm")
        return linear(last, self.weights["model.embed_tokens.weight"])[0], grown

    def _attention(self, i: int, x: Tensor, cache: LayerCache) -> tuple[Tensor, LayerCache]:
        query, key, value = (self._heads(x, f"layers.{i}.self_attn.{part}_proj") for part in "qkv")
        out, cache = self.attend(query, key, value, cache)
        return self._linear(out.transpose(0, 1).flatten(1), f"layers.{i}.self_attn.o_proj"), cache

    def _heads(self, x: Tensor, name: str) -> Tensor:
        """A linear map, cut into heads: [heads, tokens, head_dim]."""
        return self._linear(x, name).unflatten(-1, (-1, self.config.head_dim)).transpose(0, 1)

    def _mlp(self, i: int, x: Tensor) -> Tensor:
        gate, up = (self._linear(x, f"layers.{i}.mlp.{part}_proj") for part in ("gate", "up"))
        return self._linear(silu(gate) * up, f"layers.{i}.mlp.down_proj")

    def _normed(self, x: Tensor, name: str) -> Tensor:
        return rms_norm(x, self.config.rms_norm_eps) * self.weights[f"model.{name}.weight"]

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return linear(x, self.weights[f"model.{name}.weight"])


class Step(NamedTuple):
    """What went through a model at once, and how long that took."""

    num_tokens: int
    seconds: float


class Watched:
    """A model whose steps are noted: how many tokens, how long."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.steps: list[Step] = []

    def empty_cache(self) -> Any:
        """As the model's."""
        return self.model.empty_cache()

    def step(self, tokens: Sequence[int], cache: Any) -> tuple[int, Any]:
        """As the model's."""
        began = time.perf_counter()
        token, cache = self.model.step(tokens, cache)
        self.steps.append(Step(len(tokens), time.perf_counter() - began))
        return token, cache

    @property
    def num_tokens(self) -> list[int]:
        """Tokens of each step."""
        return [step.num_tokens for step in self.steps]

    @property
    def seconds(self) -> list[float]:
        """Duration of each step."""
        return [step.seconds for step in self.steps]
