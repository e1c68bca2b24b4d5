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


causal_attention.mistake(
    "masks after the softmax",
    replace=[("scores.masked_fill(future, -math.inf).softmax(dim=-1)", "scores.softmax(dim=-1).tril()")],
    caught_by=the_first_token_sees_only_itself,
    nudge="You set weights to 0 after the softmax, so what is left of a row no longer sums to 1. Hide the future in "
    "the scores, before the softmax.",
)
causal_attention.mistake(
    "infinity after the softmax",
    replace=[
        (
            "scores.masked_fill(future, -math.inf).softmax(dim=-1)",
            "scores.softmax(dim=-1).masked_fill(future, -math.inf)",
        )
    ],
    caught_by=the_first_token_sees_only_itself,
    nudge="You wrote -inf into the weights, and a weighted mean of infinities is no number. Written into the scores, "
    "before the softmax, it becomes a weight of 0.",
)
causal_attention.mistake(
    "hides with a zero",
    replace=[("scores.masked_fill(future, -math.inf)", "scores.tril()")],
    caught_by=the_first_token_sees_only_itself,
    nudge="A score of 0 is not hidden: exp(0) is 1. Which score has exp(score) = 0?",
)
causal_attention.mistake(
    "no mask",
    replace=[("scores.masked_fill(future, -math.inf)", "scores")],
    caught_by=the_first_token_sees_only_itself,
    nudge="Here every token also looks at those after it. If you wrote a mask, look whether it arrives: it has the "
    "shape [tokens, tokens], and `masked_fill` hands back a new tensor.",
)
causal_attention.mistake(
    "hides the past",
    replace=[("triu(1)", "tril(-1)")],
    caught_by=the_first_token_sees_only_itself,
    nudge="The wrong triangle: this hides the past. In row i (the query) the columns j > i are the future.",
)
causal_attention.mistake(
    "hides itself",
    replace=[("triu(1)", "triu()")],
    caught_by=the_first_token_sees_only_itself,
    nudge="The diagonal is hidden too. Then the first token may look nowhere, and softmax gives nan. `triu(1)` begins "
    "one above the diagonal.",
)
causal_attention.mistake(
    "softmax along the wrong axis",
    replace=[("softmax(dim=-1)", "softmax(dim=-2)")],
    caught_by=the_first_token_sees_only_itself,
    nudge="Softmax runs along the wrong axis. A row holds one query's weights over all keys: keys are the last axis.",
)
causal_attention.mistake(
    "softmax over the heads",
    replace=[("softmax(dim=-1)", "softmax(dim=0)")],
    caught_by=the_first_token_sees_only_itself,
    nudge="`dim=0` is the axis of the heads. A query's weights lie along the last axis.",
)
causal_attention.mistake(
    "forgets the softmax",
    replace=[("scores.masked_fill(future, -math.inf).softmax(dim=-1)", "scores.tril()")],
    caught_by=the_first_token_sees_only_itself,
    nudge="These are scores, not yet weights: they may be negative and do not sum to 1. Softmax makes weights of them.",
)
causal_attention.mistake(
    "reverses all axes",
    replace=[("keys.transpose(-1, -2)", "keys.T")],
    caught_by=the_first_token_sees_only_itself,
    nudge="`.T` reverses all three axes. Only the last two should change places: `.transpose(-1, -2)`.",
)
causal_attention.mistake(
    "forgets to transpose the keys",
    replace=[("keys.transpose(-1, -2)", "keys")],
    caught_by=the_first_token_sees_only_itself,
    nudge="In `a @ b` the last axis of a is as long as the last but one of b. The scores: [tokens, head_dim] @ "
    "[head_dim, tokens], so the keys' last two axes are swapped. The answer: [tokens, tokens] @ [tokens, head_dim], "
    "weights before values.",
)
causal_attention.mistake(
    "scales by d",
    replace=[("head_dim**0.5", "head_dim")],
    caught_by=every_weight,
    nudge="The scores are divided by head_dim itself. They grow like its square root: divide by that.",
)
causal_attention.mistake(
    "does not scale",
    replace=[(" / head_dim**0.5", "")],
    caught_by=every_weight,
    nudge="The weights are too sharp: the scores are not divided by the square root of head_dim.",
)
causal_attention.mistake(
    "scales by the number of tokens",
    replace=[("head_dim**0.5", "num_tokens**0.5")],
    caught_by=every_weight,
    nudge="That is the square root of the number of tokens. The head_dim is the last axis of the queries.",
)
causal_attention.mistake(
    "multiplies by the root",
    replace=[("/ head_dim**0.5", "* head_dim**0.5")],
    caught_by=every_weight,
    nudge="Here the scores are multiplied by the square root of head_dim. They should be divided by it.",
)
causal_attention.mistake(
    "scales after the softmax",
    replace=[(" / head_dim**0.5", ""), ("softmax(dim=-1)", "softmax(dim=-1) / head_dim**0.5")],
    caught_by=the_first_token_sees_only_itself,
    nudge="Scale the scores before the softmax. Afterwards it makes the weights of a row sum to something else than 1.",
)
causal_attention.mistake(
    "divides without shifting",
    replace=[
        ("scores.masked_fill(future, -math.inf).softmax(dim=-1)", "scores.exp().tril()"),
        ("weights @ values", "weights / weights.sum(-1, keepdim=True) @ values"),
    ],
    caught_by=large_scores,
    nudge="exp of a large score is infinite, and inf / inf is nan. `softmax` subtracts the largest score first.",
)
causal_attention.mistake(
    "masks with numbers",
    replace=[(" > 0", "")],
    caught_by=the_first_token_sees_only_itself,
    nudge="`masked_fill` wants true and false, not 1.0 and 0.0: `.bool()` turns the one into the other.",
)
causal_attention.mistake(
    "multiplies by infinity",
    replace=[(" > 0", ""), ("scores.masked_fill(future, -math.inf)", "(scores + future * -math.inf)")],
    caught_by=the_first_token_sees_only_itself,
    nudge="0 times -inf is nan, so adding `mask * -inf` spoils every score. `masked_fill` leaves the others alone.",
)
causal_attention.mistake(
    "mask upside down",
    replace=[("triu(1)", "tril()")],
    caught_by=the_first_token_sees_only_itself,
    nudge="The mask is upside down: what may be seen is hidden. `masked_fill` writes where the mask is true.",
)
causal_attention.mistake(
    "returns the weights",
    replace=[("weights @ values", "weights")],
    caught_by=the_first_token_sees_only_itself,
    nudge="These are the weights, [heads, tokens, tokens]. One product is left: the weighted mean of the values.",
)
causal_attention.mistake(
    "returns nothing",
    replace=[("    return weights @ values\n", "")],
    caught_by=the_first_token_sees_only_itself,
    nudge="Nothing comes back: is a `return` missing?",
)
causal_attention.mistake(
    "keys ask queries",
    replace=[("queries @ keys.transpose", "keys @ queries.transpose")],
    caught_by=every_weight,
    nudge="The scores are transposed. Row i belongs to the query of token i: the queries come first in the product.",
)


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

    The first head_dim numbers of a row belong to head 0, the next to head 1, and so on.
    About 1 line.
    """
    return x.view(len(x), num_heads, -1).transpose(0, 1)


@split_heads.check(hint="A head's numbers of one token stand side by side. Follow one of them: where must it go?")
def every_number_in_its_place(rng: np.random.Generator) -> Cases:
    import torch

    for tokens, heads, dim in ((1, 2, 3), (2, 2, 3), (5, 4, 2), (4, 4, 4)):
        x = numbered(rng, tokens, heads * dim)
        pieces = [x[:, head * dim : (head + 1) * dim] for head in range(heads)]
        yield call(x, heads).returns(torch.stack(pieces))


split_heads.mistake(
    "reshapes without transpose",
    replace=[("x.view(len(x), num_heads, -1).transpose(0, 1)", "x.reshape(num_heads, len(x), -1)")],
    caught_by=every_number_in_its_place,
    nudge="The shape is right, the numbers are not: this mixes tokens into heads. First cut each row into heads, which "
    "gives [tokens, num_heads, head_dim]; then swap the first two axes.",
)
split_heads.mistake(
    "forgets the transpose",
    replace=[(".transpose(0, 1)", "")],
    caught_by=every_number_in_its_place,
    nudge="The rows are cut. Now bring the heads to the front: swap the first two axes.",
)
split_heads.mistake(
    "deals the numbers out",
    replace=[("num_heads, -1).transpose(0, 1)", "-1, num_heads).permute(2, 0, 1)")],
    caught_by=every_number_in_its_place,
    nudge="This deals a row's numbers out to the heads in turn. A head's numbers stand side by side: num_heads comes "
    "before head_dim.",
)
split_heads.mistake(
    "swaps the wrong axes",
    replace=[("transpose(0, 1)", "transpose(1, 2)")],
    caught_by=every_number_in_its_place,
    nudge="The wrong axes are swapped: [tokens, num_heads, head_dim] should become [num_heads, tokens, head_dim].",
)
split_heads.mistake(
    "takes num_heads for head_dim",
    replace=[("num_heads, -1)", "-1, num_heads)")],
    caught_by=every_number_in_its_place,
    nudge="Here each head gets num_heads numbers. There must be num_heads heads.",
)
split_heads.mistake(
    "gives a tuple",
    replace=[("x.view(len(x), num_heads, -1).transpose(0, 1)", "x.chunk(num_heads, dim=1)")],
    caught_by=every_number_in_its_place,
    nudge="These are the right pieces, but in a tuple. `torch.stack` makes one tensor of them.",
)


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
    """The way back: [num_heads, tokens, head_dim] to [tokens, num_heads * head_dim].

    About 1 line.
    """
    return heads.transpose(0, 1).flatten(1)


@merge_heads.check(hint="A token's row is its part of head 0, then its part of head 1, and so on.")
def every_row_whole(rng: np.random.Generator) -> Cases:
    import torch

    for heads, tokens, dim in ((2, 3, 2), (4, 5, 3), (3, 3, 3)):
        x = numbered(rng, heads, tokens, dim)
        yield call(x).returns(torch.cat(list(x), dim=1))


merge_heads.mistake(
    "reshapes without transpose",
    replace=[("heads.transpose(0, 1).flatten(1)", "heads.reshape(heads.shape[1], -1)")],
    caught_by=every_row_whole,
    nudge="The shape is right, the numbers are not: this puts several tokens of one head into one row. Bring the "
    "tokens to the front first.",
)
merge_heads.mistake(
    "mixes the heads",
    replace=[("transpose(0, 1)", "permute(1, 2, 0)")],
    caught_by=every_row_whole,
    nudge="The numbers of the heads alternate here. In a row, all of head 0 comes first.",
)
merge_heads.mistake(
    "views what is not in order",
    replace=[("flatten(1)", "view(heads.shape[1], -1)")],
    caught_by=every_row_whole,
    nudge="The idea is right. After `transpose` the numbers no longer lie in memory in this order, and `view` never "
    "moves any; `reshape` does.",
)
merge_heads.mistake(
    "stacks the tokens",
    replace=[("heads.transpose(0, 1).flatten(1)", "heads.flatten(0, 1)")],
    caught_by=every_row_whole,
    nudge="These are the heads one below the other. A token has one row: put its parts side by side.",
)
merge_heads.mistake(
    "adds the heads up",
    replace=[("heads.transpose(0, 1).flatten(1)", "heads.sum(0)")],
    caught_by=every_row_whole,
    nudge="Merged is not added: every head keeps its own place in the row.",
)
merge_heads.mistake(
    "swaps the wrong axes",
    replace=[("heads.transpose(0, 1).flatten(1)", "heads.transpose(1, 2).reshape(heads.shape[1], -1)")],
    caught_by=every_row_whole,
    nudge="The wrong axes are swapped. To get one row per token, the tokens come first: `transpose(0, 1)`.",
)
merge_heads.mistake(
    "joins a tensor",
    replace=[("heads.transpose(0, 1).flatten(1)", "torch.cat(heads, dim=1)")],
    caught_by=every_row_whole,
    nudge="The idea is right. `torch.cat` wants a list of tensors; `list(heads)` is one.",
)
merge_heads.mistake(
    "forgets to merge",
    replace=[(".flatten(1)", "")],
    caught_by=every_row_whole,
    nudge="The tokens are in front now. What is left: put the heads of each token side by side in one row.",
)
merge_heads.mistake(
    "as many rows as heads",
    replace=[("flatten(1)", "reshape(heads.shape[0], -1)")],
    caught_by=every_row_whole,
    nudge="After the swap the number of tokens is `heads.shape[1]`, as before: the answer has one row per token.",
)


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
    """Give every query head its keys (or values).

    [kv_heads, tokens, head_dim] becomes [num_heads, tokens, head_dim]. Neighbours share: with 4
    query heads and 2 KV heads, the query heads 0, 1, 2, 3 use the KV heads 0, 0, 1, 1. num_heads
    is a multiple of kv_heads. About 1 line.
    """
    return kv.repeat_interleave(num_heads // len(kv), dim=0)


@share_heads.check(hint="Which KV head does query head 1 use? With 2 query heads for each KV head: the same as head 0.")
def neighbours_share(rng: np.random.Generator) -> Cases:
    import torch

    for kv_heads, group, tokens in ((1, 2, 1), (2, 2, 1), (2, 2, 2), (2, 4, 3), (3, 1, 2)):
        kv = numbered(rng, kv_heads, tokens, 2)
        rows = [kv[query_head // group] for query_head in range(kv_heads * group)]
        yield call(kv, kv_heads * group).returns(torch.stack(rows))


share_heads.mistake(
    "repeats the whole",
    replace=[("repeat_interleave(num_heads // len(kv), dim=0", "repeat(num_heads // len(kv), 1, 1")],
    caught_by=neighbours_share,
    nudge="This gives the order 0, 1, 0, 1. Neighbours share: 0, 0, 1, 1. Repeat each head, not the whole.",
)
share_heads.mistake(
    "repeats the tokens",
    replace=[("dim=0", "dim=1")],
    caught_by=neighbours_share,
    nudge="This repeats along the tokens. The heads are axis 0.",
)
share_heads.mistake(
    "repeats the numbers",
    replace=[("dim=0", "dim=-1")],
    caught_by=neighbours_share,
    nudge="This repeats within a head, along head_dim. The heads are axis 0.",
)
share_heads.mistake(
    "no axis at all",
    replace=[(", dim=0", "")],
    caught_by=neighbours_share,
    nudge="Without `dim`, `repeat_interleave` flattens everything first.",
)
share_heads.mistake(
    "as many times as there are heads",
    replace=[("num_heads // len(kv)", "num_heads")],
    caught_by=neighbours_share,
    nudge="Every KV head is repeated num_heads times. Only num_heads // kv_heads query heads share one.",
)
share_heads.mistake(
    "cuts the heads anew",
    replace=[("repeat_interleave(num_heads // len(kv), dim=0", "reshape(num_heads, kv.shape[1], -1")],
    caught_by=neighbours_share,
    nudge="Nothing is shared here: this cuts the numbers that are there into more heads. They should be used again.",
)
share_heads.mistake(
    "repeats the whole too often",
    replace=[("repeat_interleave(num_heads // len(kv), dim=0", "repeat(num_heads, 1, 1")],
    caught_by=neighbours_share,
    nudge="The whole is repeated num_heads times. A KV head serves num_heads // kv_heads query heads, and "
    "neighbours share: 0, 0, 1, 1.",
)
share_heads.mistake(
    "stretches the heads",
    replace=[("repeat_interleave(num_heads // len(kv), dim=0", "expand(num_heads, -1, -1")],
    caught_by=neighbours_share,
    nudge="`expand` stretches only an axis of size 1. With several KV heads, each of them must be repeated.",
)
share_heads.mistake(
    "divides to a float",
    replace=[("//", "/")],
    caught_by=neighbours_share,
    nudge="`/` gives a float, and nothing can be repeated 2.0 times. `//` gives an int.",
)
share_heads.mistake(
    "repeats without axes",
    replace=[("repeat_interleave(num_heads // len(kv), dim=0", "repeat(num_heads // len(kv)")],
    caught_by=neighbours_share,
    nudge="`repeat` wants a number for each axis, and it repeats the whole: 0, 1, 0, 1. `repeat_interleave` takes one "
    "number and `dim`, and neighbours share.",
)


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


@step.check(hint="All tokens, and one more behind them. Which row of the logits rates it?")
def appends_the_best(rng: np.random.Generator) -> Cases:
    import torch

    for length in (3, 1, 5, 4, 3, 5, 4, 3):  # so many that chance finds the best each time once in a million
        tokens, logits = tokens_and_logits(rng, length, vocabulary=7)
        best = int(np.argmax(logits[-1].tolist()))
        yield call(tokens=tokens, logits=logits).returns(torch.tensor([*tokens.tolist(), best]))


def tokens_and_logits(rng: np.random.Generator, length: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Logits for which each of the likely mistakes gives a token of its own."""
    import torch

    while True:
        logits = rng.standard_normal((length, vocabulary)).round(1) / 2
        last, best = logits[-1], int(logits[-1].argmax())
        answers = [best, int(last.argmin()), (best + 1) % vocabulary]
        if length > 1:
            answers += [int(logits[0].argmax()), int(logits[-2].argmax()), int(logits[:, -1].argmax())]
            answers += [int(logits.argmax())]
        top = np.sort(last)
        if top[-1] - top[-2] > 0.02 and len(set(answers)) == len(answers):
            tokens = torch.tensor(rng.integers(0, vocabulary, length))
            return tokens, torch.tensor(logits, dtype=torch.float32)


step.mistake(
    "takes the first row",
    replace=[("[-1]", "[0]")],
    caught_by=appends_the_best,
    nudge="That is the first row: it rates what may follow the first token. What may follow the last one?",
)
step.mistake(
    "takes the row before the last",
    replace=[("[-1]", "[-2]")],
    caught_by=appends_the_best,
    nudge="That row rates what may follow the token before the last, and we know that one already. Take the last row.",
)
step.mistake(
    "shows the model the last token only",
    replace=[("= model(tokens)", "= model(tokens[-1:])")],
    caught_by=appends_the_best,
    nudge="The model was shown the last token only. It remembers nothing between two calls: show it all tokens.",
)
step.mistake(
    "searches all rows",
    replace=[("[-1]", "")],
    caught_by=appends_the_best,
    nudge="`argmax` without an axis counts through all rows. Take the last row first.",
)
step.mistake(
    "appends every row's best",
    replace=[("[-1].argmax()", ".argmax(dim=-1)"), ("best[None]", "best")],
    caught_by=appends_the_best,
    nudge="Every row has a best token, n of them. One step writes one token: the last row's.",
)
step.mistake(
    "forgets the text before",
    replace=[("torch.cat([tokens, best[None]])", "best[None]")],
    caught_by=appends_the_best,
    nudge="This is the new token alone. The answer is the text so far with the new token at its end.",
)
step.mistake(
    "returns a number",
    replace=[("torch.cat([tokens, best[None]])", "best")],
    caught_by=appends_the_best,
    nudge="This is the new token alone. The answer is the text so far with the new token at its end.",
)
step.mistake(
    "appends the logit",
    replace=[("argmax", "max")],
    caught_by=appends_the_best,
    nudge="That is the highest logit itself. Wanted is its place in the row, the token: `argmax`.",
)
step.mistake(
    "concatenates a number",
    replace=[("best[None]", "best")],
    caught_by=appends_the_best,
    nudge="`torch.cat` joins tensors that have an axis, and `argmax` gives a single number without one: `best[None]` "
    "is a tensor of shape [1].",
)
step.mistake(
    "takes the lowest",
    replace=[("argmax", "argmin")],
    caught_by=appends_the_best,
    nudge="A high logit means likely. This takes the lowest.",
)
step.mistake(
    "takes the last column",
    replace=[("[-1]", "[:, -1]")],
    caught_by=appends_the_best,
    nudge="This looks at the last column, one entry of the vocabulary, and finds the best row. Take the last row, "
    "`[-1]`, and find its best entry.",
)
step.mistake(
    "feeds a batch",
    replace=[("model(tokens)[-1]", "model(tokens[None])[0, -1]")],
    caught_by=appends_the_best,
    nudge="Here the model takes the tokens as they are, [n], without an axis for a batch.",
)
step.mistake(
    "puts it in front",
    replace=[("[tokens, best[None]]", "[best[None], tokens]")],
    caught_by=appends_the_best,
    nudge="The new token belongs at the end of the text.",
)
step.mistake(
    "adds a list",
    replace=[("torch.cat([tokens, best[None]])", "tokens + [best]")],
    caught_by=appends_the_best,
    nudge="To a tensor, `+` adds numbers; it appends nothing. `torch.cat([tokens, ...])` does.",
)
step.mistake(
    "appends as to a list",
    replace=[("return torch.cat([tokens, best[None]])", "tokens.append(best)\n    return tokens")],
    caught_by=appends_the_best,
    nudge="A tensor cannot grow. `torch.cat([tokens, ...])` makes a longer one.",
)
step.mistake(
    "returns a list",
    replace=[("torch.cat([tokens, best[None]])", "[*tokens.tolist(), int(best)]")],
    caught_by=appends_the_best,
    nudge="The tokens are right. Hand them back as a tensor, so that the model can read them again.",
)
step.mistake(
    "asks for .logits",
    replace=[("model(tokens)[-1]", "model(tokens).logits[-1]")],
    caught_by=appends_the_best,
    nudge="In this exercise `model(tokens)` already is the tensor of logits.",
)


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
