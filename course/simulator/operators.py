"""What a forward pass computes and moves, operator by operator, on one accelerator.

A matrix product over n tokens computes 2 * inputs * outputs * n FLOPs, and reads its weights once however many tokens
there are: that is why decode batches pay. Attention reads the cache of every sequence for itself: batches do not help.
Rules as in DistServe (OSDI'24), appendix A, and LLM-Viewer (Yuan et al. 2024, arXiv 2402.16363), section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from course.simulator.parallel import Split


@dataclass(frozen=True, slots=True)
class Operator:
    """FLOPs and bytes (read and written) of one operator, over all layers of one accelerator's share of the model."""

    name: str
    flops: float
    bytes: float

    @property
    def flops_per_byte(self) -> float:
        """Arithmetic intensity: below the ridge of the hardware, memory decides how long it takes."""
        return self.flops / self.bytes


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """A weight matrix of ``inputs`` rows and ``outputs`` columns, applied ``repeats`` times (once per layer)."""

    name: str
    inputs: float
    outputs: float
    bytes_per_value: int
    repeats: int = 1

    @property
    def weight_bytes(self) -> float:
        """The matrix, of all repeats."""
        return self.repeats * self.inputs * self.outputs * self.bytes_per_value

    @property
    def flops_per_token(self) -> float:
        """A multiplication and an addition per weight."""
        return 2 * self.repeats * self.inputs * self.outputs

    @property
    def bytes_per_token(self) -> float:
        """A token's vector in, and its result out."""
        return self.repeats * (self.inputs + self.outputs) * self.bytes_per_value

    def over(self, num_tokens: int) -> Operator:
        """Applied to ``num_tokens`` vectors at a time."""
        num_bytes = self.weight_bytes + self.bytes_per_token * num_tokens
        return Operator(self.name, self.flops_per_token * num_tokens, num_bytes)


def layer_products(split: Split) -> list[MatrixProduct]:
    """The matrix products of all layers, one accelerator's share of each."""
    shape, tp = split.shape, split.tp
    queries, kv = shape.query_size / tp, split.kv_heads_per_gpu * shape.head_dim
    ffn, num_up = shape.ffn_size / tp, 2 if shape.gated else 1
    sizes = {
        "queries, keys, values": (shape.hidden_size, queries + 2 * kv),
        "attention output": (queries, shape.hidden_size),
        "feed-forward up": (shape.hidden_size, num_up * ffn),
        "feed-forward down": (ffn, shape.hidden_size),
    }
    return [MatrixProduct(name, *size, shape.bytes_per_value, shape.num_layers) for name, size in sizes.items()]


def logits_product(split: Split) -> MatrixProduct:
    """From vectors to logits: only for tokens that sample."""
    shape = split.shape
    return MatrixProduct("logits", shape.hidden_size, shape.vocab_size / split.tp, shape.bytes_per_value)


def attention_flops_per_pair(split: Split) -> float:
    """One query and one key that it sees: a product with the key and one with the value, all heads and layers."""
    return 4 * split.shape.num_layers * split.shape.query_size / split.tp


def cache_bytes_per_token(split: Split) -> int:
    """Keys and values of one cached token, all layers, one accelerator's heads."""
    shape = split.shape
    return 2 * shape.num_layers * split.kv_heads_per_gpu * shape.head_dim * shape.bytes_per_value


def elementwise_bytes_per_token(split: Split) -> float:
    """Norms, residuals and activations of all layers: they compute next to nothing and read and write vectors.

    Two norms (in, out), two residuals (two in, one out); the activation reads what came up and writes what goes down.
    """
    shape = split.shape
    vectors = 10 * shape.hidden_size + (3 if shape.gated else 2) * shape.ffn_size / split.tp
    return shape.num_layers * vectors * shape.bytes_per_value


def num_pairs(start: int, num_tokens: int) -> int:
    """Query-key pairs of a chunk behind ``start`` cached tokens: each token sees those before it and itself."""
    return num_tokens * start + num_tokens * (num_tokens + 1) // 2


def step_operators(
    split: Split, chunks: Iterable[tuple[int, int]] = (), decode_contexts: Iterable[int] = ()
) -> list[Operator]:
    """All operators of one step, for tables and pictures.

    ``chunks`` are prompts as (tokens in the cache, tokens to compute), each sampling one token; ``decode_contexts`` are
    the cached tokens of the sequences that decode.
    """
    chunks, contexts = list(chunks), list(decode_contexts)
    num_tokens = len(contexts) + sum(n for _, n in chunks)
    cached = cache_bytes_per_token(split)
    pair_flops = attention_flops_per_pair(split)
    operators = [product.over(num_tokens) for product in layer_products(split)]
    operators.append(Operator("norms and activations", 0.0, elementwise_bytes_per_token(split) * num_tokens))
    if chunks:
        pairs, keys = sum(num_pairs(*chunk) for chunk in chunks), sum(start + n for start, n in chunks)
        operators.append(Operator("attention of prompts", pair_flops * pairs, cached * keys))
    if contexts:
        keys = sum(contexts) + len(contexts)
        operators.append(Operator("attention of decodes", pair_flops * keys, cached * keys))
    operators.append(logits_product(split).over(len(contexts) + len(chunks)))
    return operators
