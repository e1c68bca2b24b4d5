"""Exercises of lesson 01: what a transformer computes for each token."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from course.exercises import TORCH, Cases, call, define, tensor

if TYPE_CHECKING:  # cells are granted it; listing exercises should not import it
    import torch
    from torch import Tensor


def patterns(expected: Any, got: Any) -> Any:
    """Two patterns of attention side by side, where the answers are matrices."""
    from course.curriculum.lesson_01_attention.explorer import compare_patterns

    if expected is None or getattr(got, "shape", None) != expected.shape or expected.ndim != 3:
        return None
    return compare_patterns(expected[0].tolist(), got[0].tolist())


# --- scaled dot-product attention -----------------------------------------------------------------------------------


@define("attention.causal_attention", points=3, grants=TORCH)
def causal_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What each token takes from itself and the tokens before it.

    All three are [heads, tokens, head_dim], and so is the answer.
    About 5 lines: scores, hide the future, softmax, weighted mean of the values.
    """
    num_tokens, head_dim = queries.shape[-2:]
    scores = queries @ keys.transpose(-1, -2) / head_dim**0.5
    future = torch.ones(num_tokens, num_tokens).triu(1) > 0
    weights = scores.masked_fill(future, -math.inf).softmax(dim=-1)
    return weights @ values


def plain_weights(query: list[float], keys: list[list[float]]) -> list[float]:
    """Weights of one query over the keys that it may see, number by number."""
    scores = [sum(q * k for q, k in zip(query, key, strict=True)) / math.sqrt(len(query)) for key in keys]
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def plain_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The same, one head and one token at a time."""
    answer = values.new_zeros(*queries.shape[:2], values.shape[2])
    for head, rows in enumerate(queries.tolist()):
        for i, query in enumerate(rows):
            for j, weight in enumerate(plain_weights(query, keys[head, : i + 1].tolist())):
                answer[head, i] += weight * values[head, j]
    return answer


@causal_attention.check(hint="The first token has nobody before it. All it can take is its own value.")
def the_first_token_sees_only_itself(rng: np.random.Generator) -> Cases:
    for tokens in (2, 4):
        queries, keys, values = (tensor(rng, 1, tokens, 3).round(decimals=1) for _ in "qkv")
        first = values[:, 0].clone()

        def fits(got: Any, values: Any = values) -> bool:
            return bool(got.shape == values.shape)

        def same_first(got: Any, first: Any = first) -> bool:
            return bool((got[:, 0] - first).abs().max() < 1e-4)

        yield (
            call(queries, keys, values)
            .satisfies(fits, f"The answer must be a tensor of shape {tuple(values.shape)}.")
            .satisfies(same_first, f"The first row must be the first token's own value, {say_row(first[0])}.")
        )


def say_row(row: Tensor) -> str:
    """``[0.1, -2.0]``."""
    return str([round(x, 1) for x in row.tolist()])


@causal_attention.check(hint="All values are 1 here, so every weighted mean is 1: the weights of a row must sum to 1.")
def the_mean_of_ones_is_one(rng: np.random.Generator) -> Cases:
    for tokens in (2, 3):
        queries, keys = tensor(rng, 2, tokens, 4).round(decimals=1), tensor(rng, 2, tokens, 4).round(decimals=1)
        yield call(queries, keys, tensor(rng, 2, tokens, 4) * 0 + 1).returns(keys * 0 + 1)


@causal_attention.check(
    hint="The values are chosen so that the answer is the matrix of weights itself. Which row is the first to differ?",
    picture=patterns,
)
def every_weight(rng: np.random.Generator) -> Cases:
    import torch

    for tokens in (2, 6):
        queries, keys = 2 * tensor(rng, 1, tokens, 4).round(decimals=1), tensor(rng, 1, tokens, 4).round(decimals=1)
        values = torch.eye(tokens)[None]
        yield call(queries, keys, values).returns(plain_attention(queries, keys, values))


@causal_attention.check(hint="Each head attends on its own.")
def several_heads(rng: np.random.Generator) -> Cases:
    for heads, tokens, dim in ((2, 2, 2), (3, 5, 4), (4, 9, 6)):
        queries, keys, values = (tensor(rng, heads, tokens, dim) for _ in "qkv")
        yield call(queries, keys, values).returns(plain_attention(queries, keys, values))


@causal_attention.check(hint="Softmax may shift all scores of a row: `torch.softmax` does, exp(score) / sum does not.")
def large_scores(rng: np.random.Generator) -> Cases:
    queries, keys, values = tensor(rng, 1, 3, 2) + 30, tensor(rng, 1, 3, 2) + 30, tensor(rng, 1, 3, 2)
    yield call(queries, keys, values).satisfies(
        lambda got: bool(got.isfinite().all()), "Scores of some hundreds must not give inf or nan."
    )


@causal_attention.mistake(
    "masks after the softmax",
    caught_by=the_first_token_sees_only_itself,
    nudge="You set weights to 0 after the softmax, so what is left of a row no longer sums to 1. Hide the future in "
    "the scores, before the softmax.",
)
def mask_after_softmax(queries, keys, values):
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.softmax(dim=-1).tril() @ values


@causal_attention.mistake(
    "hides with a zero",
    caught_by=the_first_token_sees_only_itself,
    nudge="A score of 0 is not hidden: exp(0) is 1. Which score has exp(score) = 0?",
)
def hides_with_zero(queries, keys, values):
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.tril().softmax(dim=-1) @ values


@causal_attention.mistake(
    "no mask",
    caught_by=the_first_token_sees_only_itself,
    nudge="Here every token also looks at those after it. If you wrote a mask, look whether it arrives: it has the "
    "shape [tokens, tokens], and `masked_fill` hands back a new tensor.",
)
def no_mask(queries, keys, values):
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ values


@causal_attention.mistake(
    "hides the past",
    caught_by=the_first_token_sees_only_itself,
    nudge="The wrong triangle: this hides the past. In row i (the query) the columns j > i are the future.",
)
def hides_the_past(queries, keys, values):
    past = torch.ones(queries.shape[1], queries.shape[1]).tril(-1) > 0
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.masked_fill(past, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "hides itself",
    caught_by=the_first_token_sees_only_itself,
    nudge="The diagonal is hidden too. Then the first token may look nowhere, and softmax gives nan. `triu(1)` begins "
    "one above the diagonal.",
)
def hides_itself(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu() > 0
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "softmax along the wrong axis",
    caught_by=the_first_token_sees_only_itself,
    nudge="Softmax runs along the wrong axis. A row holds one query's weights over all keys: keys are the last axis.",
)
def softmax_of_columns(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.masked_fill(future, -math.inf).softmax(dim=-2) @ values


@causal_attention.mistake(
    "softmax over the heads",
    caught_by=the_first_token_sees_only_itself,
    nudge="`dim=0` is the axis of the heads. A query's weights lie along the last axis.",
)
def softmax_over_heads(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.masked_fill(future, -math.inf).softmax(dim=0) @ values


@causal_attention.mistake(
    "forgets the softmax",
    caught_by=the_first_token_sees_only_itself,
    nudge="These are scores, not yet weights: they may be negative and do not sum to 1. Softmax makes weights of them.",
)
def forgets_softmax(queries, keys, values):
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.tril() @ values


@causal_attention.mistake(
    "reverses all axes",
    caught_by=the_first_token_sees_only_itself,
    nudge="`.T` reverses all three axes. Only the last two should change places: `.transpose(-1, -2)`.",
)
def reverses_all_axes(queries, keys, values):
    scores = queries @ keys.T / queries.shape[-1] ** 0.5
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "forgets to transpose the keys",
    caught_by=the_first_token_sees_only_itself,
    nudge="A score is a query's row times a key's row. As a matrix product that needs the keys' last two axes swapped: "
    "[tokens, head_dim] @ [head_dim, tokens].",
)
def forgets_transpose(queries, keys, values):
    scores = queries @ keys / queries.shape[-1] ** 0.5
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "scales by d",
    caught_by=every_weight,
    nudge="The scores are divided by head_dim itself. They grow like its square root: divide by that.",
)
def scales_by_d(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1]
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "does not scale",
    caught_by=every_weight,
    nudge="The weights are too sharp: the scores are not divided by the square root of head_dim.",
)
def does_not_scale(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    scores = queries @ keys.transpose(-1, -2)
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "scales by the number of tokens",
    caught_by=every_weight,
    nudge="That is the square root of the number of tokens. The head_dim is the last axis of the queries.",
)
def scales_by_tokens(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-2] ** 0.5
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "multiplies by the root",
    caught_by=every_weight,
    nudge="Here the scores are multiplied by the square root of head_dim. They should be divided by it.",
)
def multiplies_by_root(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    scores = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** 0.5
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "scales after the softmax",
    caught_by=the_first_token_sees_only_itself,
    nudge="Scale the scores before the softmax. Afterwards it makes the weights of a row sum to something else than 1.",
)
def scales_after_softmax(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    scores = queries @ keys.transpose(-1, -2)
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) / queries.shape[-1] ** 0.5 @ values


@causal_attention.mistake(
    "divides without shifting",
    caught_by=large_scores,
    nudge="exp of a large score is infinite, and inf / inf is nan. `softmax` subtracts the largest score first.",
)
def overflows(queries, keys, values):
    powers = (queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5).exp().tril()
    return powers / powers.sum(-1, keepdim=True) @ values


@causal_attention.mistake(
    "masks with numbers",
    caught_by=the_first_token_sees_only_itself,
    nudge="`masked_fill` wants true and false, not 1.0 and 0.0: `.bool()` turns the one into the other.",
)
def masks_with_numbers(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1)
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "multiplies by infinity",
    caught_by=the_first_token_sees_only_itself,
    nudge="0 times -inf is nan, so adding `mask * -inf` spoils every score. `masked_fill` leaves the others alone.",
)
def multiplies_by_infinity(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1)
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return (scores + future * -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "mask upside down",
    caught_by=the_first_token_sees_only_itself,
    nudge="The mask is upside down: what may be seen is hidden. `masked_fill` writes where the mask is true.",
)
def mask_upside_down(queries, keys, values):
    seen = torch.ones(queries.shape[1], queries.shape[1]).tril().bool()
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.masked_fill(seen, -math.inf).softmax(dim=-1) @ values


@causal_attention.mistake(
    "returns the weights",
    caught_by=the_first_token_sees_only_itself,
    nudge="These are the weights, [heads, tokens, tokens]. One product is left: the weighted mean of the values.",
)
def returns_the_weights(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.masked_fill(future, -math.inf).softmax(dim=-1)


@causal_attention.mistake(
    "returns nothing",
    caught_by=the_first_token_sees_only_itself,
    nudge="Nothing comes back: is a `return` missing?",
)
def returns_nothing(queries, keys, values):
    pass


@causal_attention.mistake(
    "keys ask queries",
    caught_by=every_weight,
    nudge="The scores are transposed. Row i belongs to the query of token i: the queries come first in the product.",
)
def keys_ask_queries(queries, keys, values):
    future = torch.ones(queries.shape[1], queries.shape[1]).triu(1) > 0
    scores = keys @ queries.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values


causal_attention.alternative("""
def causal_attention(queries, keys, values):
    rows = []
    for i in range(queries.shape[1]):
        scores = torch.einsum("hd,hjd->hj", queries[:, i], keys[:, : i + 1]) / math.sqrt(queries.shape[2])
        rows.append(torch.einsum("hj,hjd->hd", torch.softmax(scores, -1), values[:, : i + 1]))
    return torch.stack(rows, dim=1)
""")
causal_attention.alternative("""
def causal_attention(queries, keys, values):
    scores = torch.bmm(queries, keys.mT) * queries.size(-1) ** -0.5
    scores += torch.full(scores.shape[-2:], -1e9).triu(1)
    return torch.bmm(scores.softmax(-1), values)
""")
causal_attention.alternative("""
def causal_attention(queries, keys, values):
    return torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
""")


# --- heads ----------------------------------------------------------------------------------------------------------


def numbered(rng: np.random.Generator, *shape: int) -> Tensor:
    """Entries that tell where they stand: 0, 1, 2 … on top of a random multiple of 100."""
    import torch

    return torch.arange(math.prod(shape), dtype=torch.float32).view(shape) + 100 * int(rng.integers(1, 9))


@define("attention.split_heads", grants=TORCH)
def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Cut every row into heads: [tokens, num_heads * head_dim] to [num_heads, tokens, head_dim].

    The first head_dim numbers of a row belong to head 0, the next to head 1, and so on. About 1 line.
    """
    return x.view(len(x), num_heads, -1).transpose(0, 1)


@split_heads.check(hint="A head's numbers of one token stand side by side. Follow one of them: where must it go?")
def every_number_in_its_place(rng: np.random.Generator) -> Cases:
    import torch

    for tokens, heads, dim in ((1, 2, 3), (2, 2, 3), (5, 4, 2), (4, 4, 4)):
        x = numbered(rng, tokens, heads * dim)
        pieces = [x[:, head * dim : (head + 1) * dim] for head in range(heads)]
        yield call(x, heads).returns(torch.stack(pieces))


@split_heads.mistake(
    "reshapes without transpose",
    caught_by=every_number_in_its_place,
    nudge="The shape is right, the numbers are not: this mixes tokens into heads. First cut each row into heads, which "
    "gives [tokens, num_heads, head_dim]; then swap the first two axes.",
)
def only_reshapes(x, num_heads):
    return x.reshape(num_heads, len(x), -1)


@split_heads.mistake(
    "forgets the transpose",
    caught_by=every_number_in_its_place,
    nudge="The rows are cut. Now bring the heads to the front: swap the first two axes.",
)
def forgets_to_swap(x, num_heads):
    return x.view(len(x), num_heads, -1)


@split_heads.mistake(
    "deals the numbers out",
    caught_by=every_number_in_its_place,
    nudge="This deals a row's numbers out to the heads in turn. A head's numbers stand side by side: num_heads comes "
    "before head_dim.",
)
def deals_out(x, num_heads):
    return x.reshape(len(x), -1, num_heads).permute(2, 0, 1)


@split_heads.mistake(
    "swaps the wrong axes",
    caught_by=every_number_in_its_place,
    nudge="The wrong axes are swapped: [tokens, num_heads, head_dim] should become [num_heads, tokens, head_dim].",
)
def swaps_wrong_axes(x, num_heads):
    return x.view(len(x), num_heads, -1).transpose(1, 2)


@split_heads.mistake(
    "takes num_heads for head_dim",
    caught_by=every_number_in_its_place,
    nudge="Here each head gets num_heads numbers. There must be num_heads heads.",
)
def heads_for_dim(x, num_heads):
    return x.view(len(x), -1, num_heads).transpose(0, 1)


@split_heads.mistake(
    "gives a tuple",
    caught_by=every_number_in_its_place,
    nudge="These are the right pieces, but in a tuple. `torch.stack` makes one tensor of them.",
)
def gives_a_tuple(x, num_heads):
    return x.chunk(num_heads, dim=1)


split_heads.alternative("""
def split_heads(x, num_heads):
    return torch.stack(x.chunk(num_heads, dim=1))
""")
split_heads.alternative("""
def split_heads(x, num_heads):
    tokens, width = x.shape
    return x.reshape(tokens, num_heads, width // num_heads).permute(1, 0, 2).contiguous()
""")


@define("attention.merge_heads", grants=TORCH)
def merge_heads(heads: Tensor) -> Tensor:
    """The way back: [num_heads, tokens, head_dim] to [tokens, num_heads * head_dim]. About 1 line."""
    return heads.transpose(0, 1).flatten(1)


@merge_heads.check(hint="A token's row is its part of head 0, then its part of head 1, and so on.")
def every_row_whole(rng: np.random.Generator) -> Cases:
    import torch

    for heads, tokens, dim in ((2, 3, 2), (4, 5, 3), (3, 3, 3)):
        x = numbered(rng, heads, tokens, dim)
        yield call(x).returns(torch.cat(list(x), dim=1))


@merge_heads.mistake(
    "reshapes without transpose",
    caught_by=every_row_whole,
    nudge="The shape is right, the numbers are not: this puts several tokens of one head into one row. Bring the "
    "tokens to the front first.",
)
def merges_by_reshape(heads):
    return heads.reshape(heads.shape[1], -1)


@merge_heads.mistake(
    "mixes the heads",
    caught_by=every_row_whole,
    nudge="The numbers of the heads alternate here. In a row, all of head 0 comes first.",
)
def alternates(heads):
    return heads.permute(1, 2, 0).reshape(heads.shape[1], -1)


@merge_heads.mistake(
    "views what is not in order",
    caught_by=every_row_whole,
    nudge="The idea is right. After `transpose` the numbers no longer lie in memory in this order, and `view` never "
    "moves any; `reshape` does.",
)
def views_after_transpose(heads):
    return heads.transpose(0, 1).view(heads.shape[1], -1)


@merge_heads.mistake(
    "stacks the tokens",
    caught_by=every_row_whole,
    nudge="These are the heads one below the other. A token has one row: put its parts side by side.",
)
def stacks(heads):
    return heads.flatten(0, 1)


@merge_heads.mistake(
    "adds the heads up",
    caught_by=every_row_whole,
    nudge="Merged is not added: every head keeps its own place in the row.",
)
def adds_up(heads):
    return heads.sum(0)


@merge_heads.mistake(
    "swaps the wrong axes",
    caught_by=every_row_whole,
    nudge="The wrong axes are swapped. To get one row per token, the tokens come first: `transpose(0, 1)`.",
)
def merges_swapping_wrong_axes(heads):
    return heads.transpose(1, 2).reshape(heads.shape[1], -1)


@merge_heads.mistake(
    "joins a tensor",
    caught_by=every_row_whole,
    nudge="The idea is right. `torch.cat` wants a list of tensors; `list(heads)` is one.",
)
def joins_a_tensor(heads):
    return torch.cat(heads, dim=1)


@merge_heads.mistake(
    "forgets to merge",
    caught_by=every_row_whole,
    nudge="The tokens are in front now. What is left: put the heads of each token side by side in one row.",
)
def forgets_to_merge(heads):
    return heads.transpose(0, 1)


@merge_heads.mistake(
    "as many rows as heads",
    caught_by=every_row_whole,
    nudge="After the swap the number of tokens is `heads.shape[1]`, as before: the answer has one row per token.",
)
def rows_for_heads(heads):
    return heads.transpose(0, 1).reshape(heads.shape[0], -1)


merge_heads.alternative("""
def merge_heads(heads):
    return torch.cat(list(heads), dim=-1)
""")
merge_heads.alternative("""
def merge_heads(heads):
    h, n, d = heads.shape
    return heads.permute(1, 0, 2).reshape(n, h * d)
""")


@define("attention.share_heads", grants=TORCH)
def share_heads(kv: Tensor, num_heads: int) -> Tensor:
    """Give every query head its keys (or values): [kv_heads, tokens, head_dim] to [num_heads, tokens, head_dim].

    Neighbours share: with 4 query heads and 2 KV heads, the query heads 0, 1, 2, 3 use the KV heads 0, 0, 1, 1.
    num_heads is a multiple of kv_heads. About 1 line.
    """
    return kv.repeat_interleave(num_heads // len(kv), dim=0)


@share_heads.check(hint="Which KV head does query head 1 use? With 2 query heads for each KV head: the same as head 0.")
def neighbours_share(rng: np.random.Generator) -> Cases:
    import torch

    for kv_heads, group, tokens in ((1, 2, 1), (2, 2, 1), (2, 2, 2), (2, 4, 3), (3, 1, 2)):
        kv = numbered(rng, kv_heads, tokens, 2)
        rows = [kv[query_head // group] for query_head in range(kv_heads * group)]
        yield call(kv, kv_heads * group).returns(torch.stack(rows))


@share_heads.mistake(
    "repeats the whole",
    caught_by=neighbours_share,
    nudge="This gives the order 0, 1, 0, 1. Neighbours share: 0, 0, 1, 1. Repeat each head, not the whole.",
)
def repeats_the_whole(kv, num_heads):
    return kv.repeat(num_heads // len(kv), 1, 1)


@share_heads.mistake(
    "repeats the tokens",
    caught_by=neighbours_share,
    nudge="This repeats along the tokens. The heads are axis 0.",
)
def repeats_the_tokens(kv, num_heads):
    return kv.repeat_interleave(num_heads // len(kv), dim=1)


@share_heads.mistake(
    "repeats the numbers",
    caught_by=neighbours_share,
    nudge="This repeats within a head, along head_dim. The heads are axis 0.",
)
def repeats_the_numbers(kv, num_heads):
    return kv.repeat_interleave(num_heads // len(kv), dim=-1)


@share_heads.mistake(
    "no axis at all",
    caught_by=neighbours_share,
    nudge="Without `dim`, `repeat_interleave` flattens everything first.",
)
def no_axis(kv, num_heads):
    return kv.repeat_interleave(num_heads // len(kv))


@share_heads.mistake(
    "as many times as there are heads",
    caught_by=neighbours_share,
    nudge="Every KV head is repeated num_heads times. Only num_heads // kv_heads query heads share one.",
)
def too_often(kv, num_heads):
    return kv.repeat_interleave(num_heads, dim=0)


@share_heads.mistake(
    "cuts the heads anew",
    caught_by=neighbours_share,
    nudge="Nothing is shared here: this cuts the numbers that are there into more heads. They should be used again.",
)
def cuts_anew(kv, num_heads):
    return kv.reshape(num_heads, kv.shape[1], -1)


@share_heads.mistake(
    "repeats the whole too often",
    caught_by=neighbours_share,
    nudge="The whole is repeated num_heads times. A KV head serves num_heads // kv_heads query heads, and "
    "neighbours share: 0, 0, 1, 1.",
)
def repeats_too_often(kv, num_heads):
    return kv.repeat(num_heads, 1, 1)


@share_heads.mistake(
    "stretches the heads",
    caught_by=neighbours_share,
    nudge="`expand` stretches only an axis of size 1. With several KV heads, each of them must be repeated.",
)
def stretches(kv, num_heads):
    return kv.expand(num_heads, -1, -1)


@share_heads.mistake(
    "divides to a float",
    caught_by=neighbours_share,
    nudge="`/` gives a float, and nothing can be repeated 2.0 times. `//` gives an int.",
)
def divides_to_a_float(kv, num_heads):
    return kv.repeat_interleave(num_heads / len(kv), dim=0)


share_heads.alternative("""
def share_heads(kv, num_heads):
    kv_heads, tokens, dim = kv.shape
    return kv[:, None].expand(-1, num_heads // kv_heads, -1, -1).reshape(num_heads, tokens, dim)
""")
share_heads.alternative("""
def share_heads(kv, num_heads):
    return kv[torch.arange(num_heads) * len(kv) // num_heads]
""")


# --- one step -------------------------------------------------------------------------------------------------------


def with_a_model(learner: Callable[..., Any], tokens: Tensor, logits: Tensor) -> Any:
    """Hand the learner a model that gives these logits for these tokens, and others for any others."""

    def model(ids: Any) -> Any:
        if not hasattr(ids, "shape") or len(ids.shape) != 1:
            raise ValueError(f"the model takes tokens of shape [n]; it was given {getattr(ids, 'shape', ids)}")
        return logits.clone() if ids.equal(tokens) else logits[-len(ids) :].roll(1, dims=1)

    return learner(model, tokens)


@define("attention.step", points=2, grants=TORCH, through=with_a_model)
def step(model: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """Write one token: the tokens [n] become [n + 1].

    `model(tokens)` gives logits [n, vocabulary]. Row i rates what may follow token i.
    Take the token with the highest logit. About 2 lines.
    """
    best = model(tokens)[-1].argmax()
    return torch.cat([tokens, best[None]])


@step.check(hint="Which row of the logits rates the token that comes next?")
def appends_the_best(rng: np.random.Generator) -> Cases:
    import torch

    for length in (3, 1, 5):
        tokens, logits = tokens_and_logits(rng, length, vocabulary=7)
        best = int(np.argmax(logits[-1].tolist()))
        yield call(tokens=tokens, logits=logits).returns(torch.tensor([*tokens.tolist(), best]))


def tokens_and_logits(rng: np.random.Generator, length: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Logits for which each of the likely mistakes gives a token of its own."""
    import torch

    while True:
        logits = rng.standard_normal((length, vocabulary)).round(1)
        last, best = logits[-1], int(logits[-1].argmax())
        answers = [best, int(last.argmin()), (best + 1) % vocabulary]
        if length > 1:
            answers += [int(logits[0].argmax()), int(logits[-2].argmax()), int(logits[:, -1].argmax())]
            answers += [int(logits.argmax())]
        top = np.sort(last)
        if top[-1] - top[-2] > 0.05 and len(set(answers)) == len(answers):
            tokens = torch.tensor(rng.integers(0, vocabulary, length))
            return tokens, torch.tensor(logits, dtype=torch.float32)


@step.mistake(
    "takes the first row",
    caught_by=appends_the_best,
    nudge="That is the first row: it rates what may follow the first token. What may follow the last one?",
)
def takes_the_first_row(model, tokens):
    return torch.cat([tokens, model(tokens)[0].argmax()[None]])


@step.mistake(
    "takes the row before the last",
    caught_by=appends_the_best,
    nudge="That row rates what may follow the token before the last, and we know that one already. Take the last row.",
)
def takes_the_row_before(model, tokens):
    return torch.cat([tokens, model(tokens)[-2].argmax()[None]])


@step.mistake(
    "shows the model the last token only",
    caught_by=appends_the_best,
    nudge="The model was shown the last token only. It remembers nothing between two calls: show it all tokens.",
)
def shows_the_last(model, tokens):
    return torch.cat([tokens, model(tokens[-1:])[-1].argmax()[None]])


@step.mistake(
    "searches all rows",
    caught_by=appends_the_best,
    nudge="`argmax` without an axis counts through all rows. Take the last row first.",
)
def searches_all_rows(model, tokens):
    return torch.cat([tokens, model(tokens).argmax()[None]])


@step.mistake(
    "appends every row's best",
    caught_by=appends_the_best,
    nudge="Every row has a best token, n of them. One step writes one token: the last row's.",
)
def appends_all(model, tokens):
    return torch.cat([tokens, model(tokens).argmax(dim=-1)])


@step.mistake(
    "forgets the text before",
    caught_by=appends_the_best,
    nudge="This is the new token alone. The answer is the text so far with the new token at its end.",
)
def forgets_the_text(model, tokens):
    return model(tokens)[-1].argmax()[None]


@step.mistake(
    "returns a number",
    caught_by=appends_the_best,
    nudge="This is the new token alone. The answer is the text so far with the new token at its end.",
)
def returns_a_number(model, tokens):
    return model(tokens)[-1].argmax()


@step.mistake(
    "appends the logit",
    caught_by=appends_the_best,
    nudge="That is the highest logit itself. Wanted is its place in the row, the token: `argmax`.",
)
def appends_the_logit(model, tokens):
    return torch.cat([tokens, model(tokens)[-1].max()[None]])


@step.mistake(
    "concatenates a number",
    caught_by=appends_the_best,
    nudge="`torch.cat` joins tensors that have an axis, and `argmax` gives a single number without one: `best[None]` "
    "is a tensor of shape [1].",
)
def concatenates_a_number(model, tokens):
    return torch.cat([tokens, model(tokens)[-1].argmax()])


@step.mistake(
    "takes the lowest",
    caught_by=appends_the_best,
    nudge="A high logit means likely. This takes the lowest.",
)
def takes_the_lowest(model, tokens):
    return torch.cat([tokens, model(tokens)[-1].argmin()[None]])


@step.mistake(
    "takes the last column",
    caught_by=appends_the_best,
    nudge="This looks at the last column, one entry of the vocabulary, and finds the best row. Take the last row, "
    "`[-1]`, and find its best entry.",
)
def takes_the_last_column(model, tokens):
    return torch.cat([tokens, model(tokens)[:, -1].argmax()[None]])


@step.mistake(
    "feeds a batch",
    caught_by=appends_the_best,
    nudge="Here the model takes the tokens as they are, [n], without an axis for a batch.",
)
def feeds_a_batch(model, tokens):
    return torch.cat([tokens, model(tokens[None])[0, -1].argmax()[None]])


@step.mistake(
    "puts it in front",
    caught_by=appends_the_best,
    nudge="The new token belongs at the end of the text.",
)
def puts_it_in_front(model, tokens):
    return torch.cat([model(tokens)[-1].argmax()[None], tokens])


@step.mistake(
    "adds a list",
    caught_by=appends_the_best,
    nudge="To a tensor, `+` adds numbers; it appends nothing. `torch.cat([tokens, ...])` does.",
)
def adds_a_list(model, tokens):
    best = model(tokens)[-1].argmax()
    return tokens + [best]  # noqa: RUF005


@step.mistake(
    "appends as to a list",
    caught_by=appends_the_best,
    nudge="A tensor cannot grow. `torch.cat([tokens, ...])` makes a longer one.",
)
def appends_as_to_a_list(model, tokens):
    tokens.append(model(tokens)[-1].argmax())
    return tokens


@step.mistake(
    "returns a list",
    caught_by=appends_the_best,
    nudge="The tokens are right. Hand them back as a tensor, so that the model can read them again.",
)
def returns_a_list(model, tokens):
    return [*tokens.tolist(), int(model(tokens)[-1].argmax())]


@step.mistake(
    "asks for .logits",
    caught_by=appends_the_best,
    nudge="In this exercise `model(tokens)` already is the tensor of logits.",
)
def asks_for_logits(model, tokens):
    return torch.cat([tokens, model(tokens).logits[-1].argmax()[None]])


step.alternative("""
def step(model, tokens):
    logits = model(tokens)
    return torch.tensor(tokens.tolist() + [int(torch.softmax(logits[len(tokens) - 1], dim=0).argmax())])
""")
step.alternative("""
def step(model, tokens):
    best = model(tokens)[-1:].argmax(dim=-1)
    return torch.cat((tokens, best))
""")
