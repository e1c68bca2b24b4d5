"""Lab 1: the references, and the mistakes that students make. Not in a student's copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from course.curriculum.lab1_kv_cache import exercises, hidden
from course.curriculum.lab1_kv_cache.exercises import rms_norm, rotate

if TYPE_CHECKING:  # cells are granted it
    import torch
    from torch import Tensor
    from torch.nn.functional import silu

# 1: store


@exercises.store.solution
def store(cache: Tensor, start: int, keys: Tensor, values: Tensor) -> None:
    end = start + keys.shape[1]
    if end > cache.shape[2]:
        raise ValueError("no room in the cache")
    cache[0, :, start:end] = rotate(keys, torch.arange(start, end))
    cache[1, :, start:end] = values


exercises.store.mistake(
    "positions start again at 0",
    replace=[("torch.arange(start, end)", "torch.arange(end - start)")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="Your first new key is turned as if it stood at position 0. It stands at `start`.",
)
exercises.store.mistake(
    "keys are not turned",
    replace=[("rotate(keys, torch.arange(start, end))", "keys")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="The keys are stored as they came. Turn them by their positions first; `rotate` returns the turned ones.",
)
exercises.store.mistake(
    "values are turned as well",
    replace=[("= values", "= rotate(values, torch.arange(start, end))")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="Your values are turned, too. Positions decide who looks at whom, and that is between queries and keys.",
)
exercises.store.mistake(
    "positions one too far",
    replace=[("torch.arange(start, end)", "torch.arange(start, end) + 1")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="Positions count from 0: behind `start` cached tokens, the next one stands at position `start`.",
)
exercises.store.mistake(
    "a number for a position",
    replace=[("torch.arange(start, end)", "start")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="`rotate` wants a tensor with a position for each new token: `torch.arange(start, end)`.",
)
exercises.store.mistake(
    "appends as to a list",
    text="def store(cache, start, keys, values):\n    cache[0].append(keys)\n    cache[1].append(values)\n",
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="A tensor does not grow. The rows are there already: assign to them.",
)
exercises.store.mistake(
    "all at one position",
    replace=[("torch.arange(start, end)", "torch.full((end - start,), start)")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="Every new token has a position of its own: start, start + 1, and so on.",
)
exercises.store.mistake(
    "makes a longer cache",
    text=(
        "def store(cache, start, keys, values):\n"
        "    if start + keys.shape[1] > cache.shape[2]:\n"
        "        raise ValueError\n"
        "    keys = rotate(keys, torch.arange(start, start + keys.shape[1]))\n"
        "    cache = torch.cat([cache[:, :, :start], torch.stack([keys, values])], dim=2)\n"
        "    return cache\n"
    ),
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="This makes a new tensor and leaves the caller's cache as it was. Assign to a slice: `cache[0, :, a:b] = …`.",
)
exercises.store.mistake(
    "writes at the beginning",
    replace=[
        ("cache[0, :, start:end]", "cache[0, :, : end - start]"),
        ("cache[1, :, start:end]", "cache[1, :, : end - start]"),
    ],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="This writes over the first tokens. The new ones belong into the rows from `start` on.",
)
exercises.store.mistake(
    "writes at the end",
    replace=[
        ("cache[0, :, start:end]", "cache[0, :, start - end :]"),
        ("cache[1, :, start:end]", "cache[1, :, start - end :]"),
    ],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="This writes into the last rows of the cache. The new tokens belong into the rows from `start` on.",
)
exercises.store.mistake(
    "keys and values exchanged",
    replace=[
        ("cache[0, :, start:end] = rotate(keys, torch.arange(start, end))", "cache[0, :, start:end] = values"),
        ("cache[1, :, start:end] = values", "cache[1, :, start:end] = rotate(keys, torch.arange(start, end))"),
    ],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="Keys belong into cache[0], values into cache[1].",
)
exercises.store.mistake(
    "counts heads for tokens",
    replace=[("keys.shape[1]", "keys.shape[0]")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="`keys.shape[0]`, which is `len(keys)`, counts heads. The new tokens are counted by axis 1.",
)
exercises.store.mistake(
    "the axis of the heads",
    replace=[("cache[0, :, start:end]", "cache[0, start:end]"), ("cache[1, :, start:end]", "cache[1, start:end]")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="cache[0, a:b] cuts the axis of the heads. The tokens are one further: `cache[0, :, a:b]`.",
)
exercises.store.mistake(
    "values are forgotten",
    replace=[("    cache[1, :, start:end] = values\n", "")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="Keys alone are half a cache: the values of the new tokens are missing.",
)
exercises.store.mistake(
    "erases what stands behind",
    replace=[("cache[1, :, start:end] = values", "cache[1, :, start:end] = values\n    cache[:, :, end:] = 0")],
    caught_by=exercises.tokens_go_where_they_belong,
    nudge="The rows behind the new tokens are no business of this function: writing to them only costs time.",
)
exercises.store.mistake(
    "leaves it to torch",
    replace=[("    if end > cache.shape[2]:\n", "    if False:\n")],
    caught_by=exercises.a_full_cache_refuses,
    nudge="Without room, torch complains about shapes, and the reader wonders. Compare first, and raise ValueError.",
)
exercises.store.mistake(
    "asserts",
    replace=[
        (
            '    if end > cache.shape[2]:\n        raise ValueError("no room in the cache")\n',
            "    assert end <= cache.shape[2]\n",
        )
    ],
    caught_by=exercises.a_full_cache_refuses,
    nudge="`assert` raises an AssertionError. The caller waits for a ValueError: `raise ValueError(...)`.",
)
exercises.store.mistake(
    "writes what fits",
    replace=[
        (
            '        raise ValueError("no room in the cache")\n',
            "        end = cache.shape[2]\n        keys, values = keys[:, : end - start], values[:, : end - start]\n",
        )
    ],
    caught_by=exercises.a_full_cache_refuses,
    nudge="The tokens that do not fit are lost without a word. All of them, or a ValueError.",
)
exercises.store.mistake(
    "returns without a word",
    replace=[('        raise ValueError("no room in the cache")\n', "        return\n")],
    caught_by=exercises.a_full_cache_refuses,
    nudge="The caller cannot know that nothing was stored. Raise ValueError.",
)
exercises.store.mistake(
    "the last row is never used",
    replace=[("end > cache.shape[2]", "end >= cache.shape[2]")],
    caught_by=hidden.the_last_row_is_used,
    nudge="Tokens that end exactly with the last row fit. `end` is the row behind the last token.",
)
exercises.store.mistake(
    "looks at the first token only",
    replace=[("end > cache.shape[2]", "start >= cache.shape[2] or start and end > cache.shape[2]")],
    caught_by=hidden.the_last_row_is_used,
    nudge="A prompt can be too long for an empty cache, too.",
)
exercises.store.mistake(
    "joins keys and values of different kinds",
    replace=[
        (
            "    cache[0, :, start:end] = rotate(keys, torch.arange(start, end))\n"
            "    cache[1, :, start:end] = values\n",
            "    both = torch.stack([rotate(keys, torch.arange(start, end)), values])\n"
            "    torch.ops.aten.index_copy_(cache, 2, torch.arange(start, end), both)\n",
        )
    ],
    caught_by=hidden.a_cache_of_another_dtype,
    nudge="This way of writing wants cache and tokens of one dtype. An assignment to a slice converts.",
)
exercises.store.alternative("""
def store(cache, start, keys, values):
    positions = torch.arange(start, start + keys.shape[1])
    if len(positions) and positions[-1] > cache.shape[2] - 1:
        raise ValueError("full")
    turned = rotate(keys, positions)
    for i, position in enumerate(positions.tolist()):
        for head in range(cache.shape[1]):
            cache[0, head, position].copy_(turned[head, i])
            cache[1, head, position].copy_(values[head, i])
""")
exercises.store.alternative("""
def store(cache, start, keys, values):
    room = cache.shape[2] - start
    if keys.size(1) > room:
        raise ValueError("no room")
    here = slice(start, start + keys.size(1))
    new = torch.stack((rotate(keys, torch.arange(start, start + keys.size(1))), values))
    cache[:, :, here].copy_(new)
    return cache
""")


# 2: attend


@exercises.attend.solution
def attend(query: Tensor, cache: Tensor, start: int) -> Tensor:
    end = start + query.shape[1]
    positions = torch.arange(start, end)
    share = len(query) // cache.shape[1]
    keys, values = cache[:, :, :end].repeat_interleave(share, dim=1)
    scores = rotate(query, positions) @ keys.transpose(1, 2) / query.shape[-1] ** 0.5
    unseen = torch.arange(end) > positions[:, None]
    return scores.masked_fill(unseen, -torch.inf).softmax(dim=-1) @ values


exercises.attend.mistake(
    "queries are not turned",
    replace=[("rotate(query, positions)", "query")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="The keys in the cache know their positions, your queries do not. Turn them first.",
)
exercises.attend.mistake(
    "positions start again at 0",
    replace=[("rotate(query, positions)", "rotate(query, positions - start)")],
    caught_by=exercises.one_token_behind_the_cache,
    nudge="Your first new token is turned as if it stood at position 0. It stands at `start`.",
)
exercises.attend.mistake(
    "turns the keys again",
    replace=[
        (
            "    scores = rotate(query, positions) @ keys.transpose(1, 2)",
            "    keys = rotate(keys, torch.arange(end))\n    scores = rotate(query, positions) @ keys.transpose(1, 2)",
        )
    ],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="The keys were turned when they were stored. Only the queries are left to turn.",
)
exercises.attend.mistake(
    "no mask",
    replace=[("scores.masked_fill(unseen, -torch.inf)", "scores")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="Your tokens see those after them. Hide every key that stands behind the token that looks.",
)
exercises.attend.mistake(
    "sees the leftovers",
    replace=[
        ("cache[:, :, :end].repeat", "cache.repeat"),
        ("torch.arange(end) > positions[:, None]", "torch.zeros(len(positions), cache.shape[2], dtype=torch.bool)"),
    ],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="Your tokens see every row of the cache, also those behind the last token, which mean nothing.",
)
exercises.attend.mistake(
    "the mask forgets the cache",
    replace=[("torch.arange(end) > positions[:, None]", "torch.ones(len(positions), end).triu(1).bool()")],
    caught_by=exercises.one_token_behind_the_cache,
    nudge="Your mask begins as if nothing were cached: the first new token sees only the oldest. It sees them all.",
)
exercises.attend.mistake(
    "a square mask",
    replace=[("torch.arange(end) > positions[:, None]", "torch.ones(len(positions), len(positions)).triu(1).bool()")],
    caught_by=exercises.a_chunk_behind_the_cache,
    nudge="Your mask has a column for each new token. It needs one for each token of the text, cached ones too.",
)
exercises.attend.mistake(
    "does not see itself",
    replace=[("torch.arange(end) > positions", "torch.arange(end) >= positions")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="A token looks at itself, too: its own key is in the cache already.",
)
exercises.attend.mistake(
    "looks ahead",
    replace=[("torch.arange(end) > positions", "torch.arange(end) < positions")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="The mask is turned around: your tokens see themselves and those after them.",
)
exercises.attend.mistake(
    "only what was cached before",
    replace=[("cache[:, :, :end]", "cache[:, :, :start]"), ("torch.arange(end)", "torch.arange(start)")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="This looks at the rows before `start` only. The new tokens' own keys and values stand behind those.",
)
exercises.attend.mistake(
    "only the new ones",
    replace=[("cache[:, :, :end]", "cache[:, :, start:end]"), ("torch.arange(end)", "positions")],
    caught_by=exercises.one_token_behind_the_cache,
    nudge="This looks at the new tokens only. The cached ones, from row 0 on, are what the cache is for.",
)
exercises.attend.mistake(
    "one row too few",
    replace=[("cache[:, :, :end]", "cache[:, :, : end - 1]"), ("torch.arange(end)", "torch.arange(end - 1)")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="The last new token is missing among the keys. A slice `a:b` ends before b.",
)
exercises.attend.mistake(
    "repeats the whole",
    replace=[("cache[:, :, :end].repeat_interleave(share, dim=1)", "cache[:, :, :end].repeat(1, share, 1, 1)")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="This gives the KV heads in the order 0, 1, 0, 1. Neighbours share: 0, 0, 1, 1.",
)
exercises.attend.mistake(
    "heads are not shared",
    replace=[("cache[:, :, :end].repeat_interleave(share, dim=1)", "cache[:, :, :end]")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="There are more query heads than KV heads. Repeat each KV head, along the axis of the heads.",
)
exercises.attend.mistake(
    "no scale",
    replace=[(" / query.shape[-1] ** 0.5", "")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="The scores are not divided by the root of head_dim.",
)
exercises.attend.mistake(
    "scales by d",
    replace=[(" / query.shape[-1] ** 0.5", " / query.shape[-1]")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="The scores are divided by head_dim. By its root is meant.",
)
exercises.attend.mistake(
    "scales by the number of tokens",
    replace=[(" / query.shape[-1] ** 0.5", " / query.shape[1] ** 0.5")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="`query.shape[1]` counts tokens. The root of head_dim, the last axis, is meant.",
)
exercises.attend.mistake(
    "softmax over the queries",
    replace=[(".softmax(dim=-1)", ".softmax(dim=1)")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="Each query's weights sum to 1, over the keys: the last axis.",
)
exercises.attend.mistake(
    "mask after softmax",
    replace=[
        ("scores.masked_fill(unseen, -torch.inf).softmax(dim=-1)", "scores.softmax(dim=-1).masked_fill(unseen, 0)")
    ],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="Your weights do not sum to 1: what is hidden has had its share already. Hide before softmax.",
)
exercises.attend.mistake(
    "returns the weights",
    replace=[(".softmax(dim=-1) @ values", ".softmax(dim=-1)")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="These are the weights. The answer is the mean of the values with these weights.",
)
exercises.attend.mistake(
    "keys and values exchanged",
    replace=[("keys, values = cache", "values, keys = cache")],
    caught_by=exercises.a_prompt_from_its_beginning,
    nudge="Keys are in cache[0], values in cache[1].",
)
exercises.attend.mistake(
    "hides the leftovers and multiplies by them",
    replace=[
        ("cache[:, :, :end].repeat", "cache.repeat"),
        ("torch.arange(end) > positions", "torch.arange(cache.shape[2]) > positions"),
    ],
    caught_by=hidden.leftovers_never_leak,
    nudge="Your weights for the leftovers are 0, but a leftover may be NaN, and 0 · NaN is NaN. Cut those rows off.",
)
exercises.attend.mistake(
    "cuts off nothing, and so everything",
    replace=[("cache[:, :, :end]", "cache[:, :, : end - cache.shape[2]]")],
    caught_by=hidden.every_sharing_and_a_full_cache,
    nudge="`[:-n]` cuts n rows off the end, and all rows where n is 0. Say where the rows end: `[:end]`.",
)
exercises.attend.mistake(
    "exp without softmax",
    replace=[
        (
            "    return scores.masked_fill(unseen, -torch.inf).softmax(dim=-1) @ values",
            "    weights = scores.masked_fill(unseen, -torch.inf).exp()\n"
            "    return weights / weights.sum(dim=-1, keepdim=True) @ values",
        )
    ],
    caught_by=hidden.large_scores_and_other_dtypes,
    nudge="`exp` of a large score is infinite. `softmax` takes the largest score away first; use it, or do the same.",
)
exercises.attend.mistake(
    "weights of one dtype",
    replace=[(".softmax(dim=-1)", ".softmax(dim=-1, dtype=torch.float32)")],
    caught_by=hidden.large_scores_and_other_dtypes,
    nudge="Your weights are float32, whatever comes in, and values of another dtype cannot be multiplied with them.",
)
exercises.attend.alternative("""
def attend(query, cache, start):
    heads, num_new, head_dim = query.shape
    query = rotate(query, torch.arange(start, start + num_new))
    out = torch.empty_like(query)
    for head in range(heads):
        keys, values = cache[:, head * cache.shape[1] // heads]
        for i in range(num_new):  # token by token: no mask is needed
            seen = start + i + 1
            weights = torch.softmax(keys[:seen] @ query[head, i] * head_dim**-0.5, dim=0)
            out[head, i] = weights @ values[:seen]
    return out
""")
exercises.attend.alternative("""
def attend(query, cache, start):
    kv_heads, num_new = cache.size(1), query.size(1)
    grouped = rotate(query, torch.arange(num_new) + start).unflatten(0, (kv_heads, -1))
    keys, values = cache[:, :, : start + num_new].unbind(0)
    scores = torch.einsum("kgnd,ktd->kgnt", grouped, keys) / math.sqrt(query.size(-1))
    seen = torch.ones(num_new, start + num_new, dtype=torch.bool).tril(start)
    weights = torch.where(seen, scores, float("-inf")).softmax(-1)
    return torch.einsum("kgnt,ktd->kgnd", weights, values).flatten(0, 1)
""")


# 3: layer


@exercises.layer.solution
def layer(x: Tensor, weights: dict[str, Tensor], attention: Callable, head_dim: int) -> Tensor:
    h = rms_norm(x, weights["norm_1"])
    rows = [h @ weights[name].T for name in ("q", "k", "v")]
    query, key, value = (row.view(len(x), -1, head_dim).transpose(0, 1) for row in rows)
    mixed = attention(query, key, value).transpose(0, 1).flatten(1)
    x = x + mixed @ weights["o"].T
    h = rms_norm(x, weights["norm_2"])
    return x + (silu(h @ weights["gate"].T) * (h @ weights["up"].T)) @ weights["down"].T


exercises.layer.mistake(
    "adds in place",
    replace=[('    x = x + mixed @ weights["o"].T', '    x += mixed @ weights["o"].T')],
    caught_by=exercises.one_token,
    nudge="`+=` changes the caller's tensor. `x = x + ...` makes a new one.",
)
exercises.layer.mistake(
    "no residual around attention",
    replace=[("x = x + mixed @", "x = mixed @")],
    caught_by=exercises.one_token,
    nudge="What attention gives is added to x; it does not take its place.",
)
exercises.layer.mistake(
    "no residual around the MLP",
    replace=[("return x + (silu", "return (silu")],
    caught_by=exercises.one_token,
    nudge="What the MLP gives is added to x; it does not take its place.",
)
exercises.layer.mistake(
    "adds to the normed rows",
    replace=[("x = x + mixed @", "x = h + mixed @")],
    caught_by=exercises.one_token,
    nudge="Attention's answer is added to x as it came in, not to its normed rows.",
)
exercises.layer.mistake(
    "adds the MLP to the normed rows",
    replace=[("return x + (silu", "return h + (silu")],
    caught_by=exercises.one_token,
    nudge="The MLP's answer is added to the sum so far, not to its normed rows.",
)
exercises.layer.mistake(
    "the second norm takes the first x",
    replace=[
        ("    x = x + mixed @", "    after = x + mixed @"),
        ("return x + (silu", "return after + (silu"),
    ],
    caught_by=exercises.one_token,
    nudge="The MLP sees what attention has added already: norm the sum, not the x that came in.",
)
exercises.layer.mistake(
    "MLP and attention side by side",
    replace=[
        ("    x = x + mixed @", "    after = x + mixed @"),
        ('    h = rms_norm(x, weights["norm_2"])\n', ""),
        ("return x + (silu", "return after + (silu"),
    ],
    caught_by=exercises.one_token,
    nudge="The MLP has a norm of its own, of the rows that attention has been added to.",
)
exercises.layer.mistake(
    "no norm before attention",
    replace=[('h = rms_norm(x, weights["norm_1"])', "h = x")],
    caught_by=exercises.one_token,
    nudge="Queries, keys and values are made of the normed rows.",
)
exercises.layer.mistake(
    "no norm before the MLP",
    replace=[('h = rms_norm(x, weights["norm_2"])', "h = x")],
    caught_by=exercises.one_token,
    nudge='The MLP takes the normed rows, with weights["norm_2"].',
)
exercises.layer.mistake(
    "one norm twice",
    replace=[('weights["norm_2"]', 'weights["norm_1"]')],
    caught_by=exercises.one_token,
    nudge='The second norm has gains of its own: weights["norm_2"].',
)
exercises.layer.mistake(
    "silu on the wrong one",
    replace=[
        (
            'silu(h @ weights["gate"].T) * (h @ weights["up"].T)',
            '(h @ weights["gate"].T) * silu(h @ weights["up"].T)',
        )
    ],
    caught_by=exercises.one_token,
    nudge="`silu` is for the gate; `up` is multiplied as it is.",
)
exercises.layer.mistake(
    "silu on the product",
    replace=[
        (
            '(silu(h @ weights["gate"].T) * (h @ weights["up"].T))',
            'silu((h @ weights["gate"].T) * (h @ weights["up"].T))',
        )
    ],
    caught_by=exercises.one_token,
    nudge="`silu` of the gate alone; then times `up`.",
)
exercises.layer.mistake(
    "no silu",
    replace=[('silu(h @ weights["gate"].T)', '(h @ weights["gate"].T)')],
    caught_by=exercises.one_token,
    nudge="The gate goes through `silu` before it is multiplied.",
)
exercises.layer.mistake(
    "adds gate and up",
    replace=[('silu(h @ weights["gate"].T) * (h', 'silu(h @ weights["gate"].T) + (h')],
    caught_by=exercises.one_token,
    nudge="Gate and up are multiplied, number by number: that is what makes it a gate.",
)
exercises.layer.mistake(
    "forgets the output matrix",
    replace=[('mixed @ weights["o"].T', "mixed")],
    caught_by=exercises.one_token,
    nudge='The merged heads go through weights["o"] before they are added.',
)
exercises.layer.mistake(
    "forgets to transpose the matrices",
    replace=[("h @ weights[name].T", "h @ weights[name]")],
    caught_by=exercises.one_token,
    nudge="The matrices are [out, in]: `h @ W.T`. Where a matrix is square, torch cannot warn you.",
)
exercises.layer.mistake(
    "heads by reshape without transpose",
    replace=[("row.view(len(x), -1, head_dim).transpose(0, 1)", "row.reshape(-1, len(x), head_dim)")],
    caught_by=exercises.several_tokens,
    nudge="The shape is right, the numbers are not: this mixes tokens and heads. Cut each row first, then swap axes.",
)
exercises.layer.mistake(
    "merges without transpose",
    replace=[
        ("attention(query, key, value).transpose(0, 1).flatten(1)", "attention(query, key, value).reshape(len(x), -1)")
    ],
    caught_by=exercises.several_tokens,
    nudge="Heads are merged into one row per token: bring the tokens to the front before the rest is flattened.",
)
exercises.layer.mistake(
    "heads stay behind the tokens",
    replace=[(".view(len(x), -1, head_dim).transpose(0, 1)", ".view(len(x), -1, head_dim)")],
    caught_by=exercises.one_token,
    nudge="These are [tokens, heads, head_dim]. `attention` wants the heads in front.",
)
exercises.layer.mistake(
    "rows are not cut into heads",
    replace=[("row.view(len(x), -1, head_dim).transpose(0, 1) for row", "row for row")],
    caught_by=exercises.one_token,
    nudge="A row holds all its heads side by side. Cut it into heads of head_dim numbers; the heads come first.",
)
exercises.layer.mistake(
    "exchanges key and value",
    replace=[("attention(query, key, value)", "attention(query, value, key)")],
    caught_by=exercises.one_token,
    nudge="`attention(query, key, value)`: in this order.",
)
exercises.layer.mistake(
    "heads that fill the model's width",
    replace=[
        ("mixed = attention(query, key, value).transpose(0, 1).flatten(1)", "mixed = attention(query, key, value)"),
        ("x = x + mixed @", "x = x + mixed.transpose(0, 1).reshape(x.shape) @"),
    ],
    caught_by=hidden.heads_wider_than_the_model,
    nudge="The merged heads have heads · head_dim numbers, and that need not be the width of x.",
)
exercises.layer.alternative("""
def layer(x, weights, attention, head_dim):
    tokens = x.shape[0]

    def heads(name, h):
        return torch.stack((h @ weights[name].T).split(head_dim, dim=1))

    h = rms_norm(x, weights["norm_1"])
    mixed = attention(heads("q", h), heads("k", h), heads("v", h))
    merged = torch.cat(list(mixed), dim=-1)
    between = x + torch.nn.functional.linear(merged, weights["o"])
    h = rms_norm(between, weights["norm_2"])
    gate = h @ weights["gate"].T
    inner = gate * torch.sigmoid(gate) * (h @ weights["up"].T)
    return between + torch.einsum("ti,oi->to", inner, weights["down"])
""")


# 4: prefill


@exercises.prefill.solution
def prefill(decoder, prompt: list[int], chunk_size: int) -> Tensor:
    kept = 0
    while kept < min(len(decoder.tokens), len(prompt) - 1) and decoder.tokens[kept] == prompt[kept]:
        kept += 1
    decoder.rewind(kept)
    for begin in range(kept, len(prompt), chunk_size):
        logits = decoder.step(prompt[begin : begin + chunk_size])
    return logits


exercises.prefill.mistake(
    "the whole prompt in one step",
    replace=[
        (
            "    for begin in range(kept, len(prompt), chunk_size):\n"
            "        logits = decoder.step(prompt[begin : begin + chunk_size])\n",
            "    logits = decoder.step(prompt[kept:])\n",
        )
    ],
    caught_by=exercises.a_prompt_in_chunks,
    nudge="The whole prompt goes in at once. Others may wait behind it: cut it into pieces of `chunk_size`.",
)
exercises.prefill.mistake(
    "token by token",
    replace=[("prompt[begin : begin + chunk_size]", "[prompt[begin]]"), ("len(prompt), chunk_size)", "len(prompt))")],
    caught_by=exercises.a_prompt_in_chunks,
    nudge="Token by token is right and slow: each step reads all the weights. `chunk_size` tokens share one reading.",
)
exercises.prefill.mistake(
    "loses the short piece at the end",
    replace=[("len(prompt), chunk_size)", "len(prompt) - chunk_size + 1, chunk_size)")],
    caught_by=exercises.a_prompt_in_chunks,
    nudge="The last piece is missing where the prompt is no multiple of `chunk_size`. It is shorter, and it counts.",
)
exercises.prefill.mistake(
    "pieces that overlap",
    replace=[("begin : begin + chunk_size]", "begin : begin + chunk_size + 1]")],
    caught_by=exercises.a_prompt_in_chunks,
    nudge="Your pieces overlap: a slice [a:b] ends before b.",
)
exercises.prefill.mistake(
    "pieces that grow",
    replace=[("prompt[begin : begin + chunk_size]", "prompt[: begin + chunk_size]")],
    caught_by=exercises.a_prompt_in_chunks,
    nudge="Each of your steps begins at the first token again. What went in before is in the cache.",
)
exercises.prefill.mistake(
    "the last token is left for later",
    replace=[
        ("range(kept, len(prompt), chunk_size)", "range(kept, len(prompt) - 1, chunk_size)"),
        ("prompt[begin : begin + chunk_size]", "prompt[begin : min(begin + chunk_size, len(prompt) - 1)]"),
    ],
    caught_by=exercises.a_prompt_in_chunks,
    nudge="The prompt's last token has not gone through the model, so nothing is known about what follows it.",
)
exercises.prefill.mistake(
    "returns the token",
    replace=[("return logits", "return int(logits.argmax())")],
    caught_by=exercises.a_prompt_in_chunks,
    nudge="That is the best token. Return the logits; `decode` chooses.",
)
exercises.prefill.mistake(
    "returns the first piece's logits",
    replace=[
        (
            "        logits = decoder.step(prompt[begin : begin + chunk_size])\n    return logits",
            "        logits = decoder.step(prompt[begin : begin + chunk_size])\n"
            "        first = logits if begin == kept else first\n    return first",
        )
    ],
    caught_by=exercises.a_prompt_in_chunks,
    nudge="These logits stand behind an earlier piece. What follows the prompt is known after the last one.",
)
exercises.prefill.mistake(
    "nothing is kept",
    replace=[("decoder.rewind(kept)", "kept = 0\n    decoder.rewind(0)")],
    caught_by=exercises.the_common_beginning_is_kept,
    nudge="All of the cache is thrown away, and the common beginning computed again.",
)
exercises.prefill.mistake(
    "does not forget",
    replace=[("    decoder.rewind(kept)\n", "")],
    caught_by=exercises.the_common_beginning_is_kept,
    nudge="Behind the common beginning the cache still holds the earlier text. Rewind before you go on.",
)
exercises.prefill.mistake(
    "appends to the earlier text",
    replace=[
        ("    while kept < min(len(decoder.tokens), len(prompt) - 1) and decoder.tokens[kept] == prompt[kept]:\n", ""),
        ("        kept += 1\n    decoder.rewind(kept)\n", ""),
    ],
    caught_by=exercises.the_common_beginning_is_kept,
    nudge="The prompt goes in behind an earlier text, as if it were its continuation.",
)
exercises.prefill.mistake(
    "keeps by number alone",
    replace=[(" and decoder.tokens[kept] == prompt[kept]", "")],
    caught_by=exercises.the_common_beginning_is_kept,
    nudge="As many tokens as the cache holds are kept, whatever they are. Only equal ones may be.",
)
exercises.prefill.mistake(
    "looks behind the end",
    replace=[("kept < min(len(decoder.tokens), len(prompt) - 1) and ", "")],
    caught_by=exercises.a_prompt_in_chunks,
    nudge="The cache may be shorter than the prompt, or empty. Look at the lengths before you look inside.",
)
exercises.prefill.mistake(
    "keeps one too few",
    replace=[("decoder.rewind(kept)", "kept = max(kept - 1, 0)\n    decoder.rewind(kept)")],
    caught_by=exercises.the_common_beginning_is_kept,
    nudge="One token more could be kept: the last one that is equal is computed again.",
)
exercises.prefill.mistake(
    "all or nothing",
    text=(
        "def prefill(decoder, prompt, chunk_size):\n"
        "    kept = len(decoder.tokens) if prompt[: len(decoder.tokens)] == decoder.tokens else 0\n"
        "    decoder.rewind(kept)\n"
        "    for begin in range(kept, len(prompt), chunk_size):\n"
        "        logits = decoder.step(prompt[begin : begin + chunk_size])\n"
        "    return logits\n"
    ),
    caught_by=exercises.the_common_beginning_is_kept,
    nudge="The cache is kept only if all of it fits. A common beginning is worth as much, the rest is rewound.",
)
exercises.prefill.mistake(
    "a full hit leaves nothing to compute",
    replace=[("min(len(decoder.tokens), len(prompt) - 1)", "min(len(decoder.tokens), len(prompt))")],
    caught_by=hidden.a_prompt_that_is_cached_already,
    nudge="If the cache holds the whole prompt, no token is left to go through, and no logits come. Keep one less.",
)
exercises.prefill.mistake(
    "a full hit starts from the beginning",
    replace=[
        ("min(len(decoder.tokens), len(prompt) - 1)", "min(len(decoder.tokens), len(prompt))"),
        ("    decoder.rewind(kept)\n", "    kept = 0 if kept == len(prompt) else kept\n    decoder.rewind(kept)\n"),
    ],
    caught_by=hidden.a_prompt_that_is_cached_already,
    nudge="If the cache holds the whole prompt, only its last token has to go through again, not all of it.",
)
exercises.prefill.mistake(
    "counts equal tokens anywhere",
    text=(
        "def prefill(decoder, prompt, chunk_size):\n"
        "    kept = sum(a == b for a, b in zip(decoder.tokens, prompt[:-1]))\n"
        "    decoder.rewind(kept)\n"
        "    for begin in range(kept, len(prompt), chunk_size):\n"
        "        logits = decoder.step(prompt[begin : begin + chunk_size])\n"
        "    return logits\n"
    ),
    caught_by=hidden.sizes_at_the_edges,
    nudge="Behind the first difference nothing may be kept, even where tokens are equal again: their past is another.",
)
exercises.prefill.alternative("""
def prefill(decoder, prompt, chunk_size):
    same = [a == b for a, b in zip(decoder.tokens, prompt[:-1])] + [False]
    decoder.rewind(same.index(False))
    while len(decoder.tokens) < len(prompt):
        here = len(decoder.tokens)
        logits = decoder.step(prompt[here : min(here + chunk_size, len(prompt))])
    return logits
""")
exercises.prefill.alternative("""
def prefill(decoder, prompt, chunk_size):
    length = 0
    for old, new in zip(decoder.tokens, prompt):
        if old != new:
            break
        length += 1
    if length == len(prompt):
        length -= 1
    decoder.rewind(length)
    rest = prompt[length:]
    while rest:
        chunk, rest = rest[:chunk_size], rest[chunk_size:]
        logits = decoder.step(chunk)
    return logits
""")


# 5: decode


@exercises.decode.solution
def decode(decoder, logits: Tensor, num_tokens: int, end_tokens: list[int]) -> list[int]:
    answer: list[int] = []
    while len(answer) < num_tokens:
        token = int(logits.argmax())
        if token in end_tokens:
            break
        answer.append(token)
        if len(answer) == num_tokens or len(decoder.tokens) == decoder.capacity:
            break
        logits = decoder.step([token])
    return answer


exercises.decode.mistake(
    "one step that nobody needs",
    replace=[("len(answer) == num_tokens or ", "")],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="The tokens are right, but the last one goes through the model too, and what follows it is thrown away.",
)
exercises.decode.mistake(
    "loses the first token",
    text=(
        "def decode(decoder, logits, num_tokens, end_tokens):\n"
        "    token, answer = int(logits.argmax()), []\n"
        "    while len(answer) < num_tokens and len(decoder.tokens) < decoder.capacity:\n"
        "        token = int(decoder.step([token]).argmax())\n"
        "        if token in end_tokens:\n"
        "            break\n"
        "        answer.append(token)\n"
        "    return answer\n"
    ),
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="The logits that come from `prefill` give the first token of the answer, and it is missing from yours.",
)
exercises.decode.mistake(
    "one token too many",
    replace=[
        ("while len(answer) < num_tokens:", "while True:"),
        ("len(answer) == num_tokens or", "len(answer) > num_tokens or"),
    ],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="One token too many. The logits at hand give the first, so num_tokens - 1 steps are left.",
)
exercises.decode.mistake(
    "one token too few",
    replace=[("while len(answer) < num_tokens:", "while len(answer) < num_tokens - 1:")],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="One token too few: `num_tokens` are wanted, and the first one needs no step.",
)
exercises.decode.mistake(
    "the logits stay the same",
    replace=[("        logits = decoder.step([token])", "        decoder.step([token])")],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="Each step returns new logits, and yours are dropped: every token is chosen from the same ones.",
)
exercises.decode.mistake(
    "the whole answer each time",
    replace=[("decoder.step([token])", "decoder.step(answer)")],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="The tokens before are in the cache already. Only the new one goes in.",
)
exercises.decode.mistake(
    "tensors in the answer",
    replace=[("int(logits.argmax())", "logits.argmax()")],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="`argmax` gives a tensor. `int(...)` makes a number of it.",
)
exercises.decode.mistake(
    "tensors in the answer, and one step too many",
    text=(
        "def decode(decoder, logits, num_tokens, end_tokens):\n"
        "    answer = []\n"
        "    for _ in range(num_tokens):\n"
        "        answer.append(logits.argmax())\n"
        "        logits = decoder.step([answer[-1]])\n"
        "    return answer\n"
    ),
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="`argmax` gives a tensor. `int(...)` makes a number of it.",
)
exercises.decode.mistake(
    "the logit instead of its place",
    replace=[("int(logits.argmax())", "int(logits.max())")],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="`max` is the highest logit. The token is its place: `argmax`.",
)
exercises.decode.mistake(
    "the least likely token",
    replace=[("argmax", "argmin")],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="`argmin` finds the least likely token.",
)
exercises.decode.mistake(
    "a number for a list",
    replace=[("decoder.step([token])", "decoder.step(token)")],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="`decoder.step` takes a list of tokens, also where it is one: `[token]`.",
)
exercises.decode.mistake(
    "endless: does not count",
    replace=[
        ("while len(answer) < num_tokens:", "while True:"),
        ("if len(answer) == num_tokens or len(decoder.tokens) == decoder.capacity:", "if num_tokens == 0:"),
        ("decoder.step([token])", "logits.roll(1)"),
    ],
    caught_by=exercises.as_many_tokens_as_wanted,
    nudge="Nothing ends your loop. Count the tokens of the answer.",
)
exercises.decode.mistake(
    "never ends early",
    replace=[("        if token in end_tokens:\n            break\n", "")],
    caught_by=exercises.an_end_token_ends_the_answer,
    nudge="An end token stands in the middle of your answer, and it goes on behind it.",
)
exercises.decode.mistake(
    "the end token is part of the answer",
    replace=[
        (
            "        if token in end_tokens:\n            break\n        answer.append(token)\n",
            "        answer.append(token)\n        if token in end_tokens:\n            break\n",
        ),
    ],
    caught_by=exercises.an_end_token_ends_the_answer,
    nudge="The end token says that the answer is complete; the reader should not see it.",
)
exercises.decode.mistake(
    "the end token goes through the model",
    text=(
        "def decode(decoder, logits, num_tokens, end_tokens):\n"
        "    answer = []\n"
        "    while len(answer) < num_tokens:\n"
        "        token = int(logits.argmax())\n"
        "        answer.append(token)\n"
        "        if len(answer) == num_tokens or len(decoder.tokens) == decoder.capacity:\n"
        "            break\n"
        "        logits = decoder.step([token])\n"
        "        if token in end_tokens:\n"
        "            break\n"
        "    if answer and answer[-1] in end_tokens:\n"
        "        answer.pop()\n"
        "    return answer\n"
    ),
    caught_by=exercises.an_end_token_ends_the_answer,
    nudge="The answer is right, but the end token goes through the model, and nobody needs what follows it.",
)
exercises.decode.mistake(
    "leaves the end token out and goes on",
    replace=[
        (
            "        if token in end_tokens:\n            break\n        answer.append(token)\n",
            "        if token not in end_tokens:\n            answer.append(token)\n",
        )
    ],
    caught_by=exercises.an_end_token_ends_the_answer,
    nudge="The end token is left out, and the answer goes on behind it. It should end there.",
)
exercises.decode.mistake(
    "runs into the end of the cache",
    replace=[(" or len(decoder.tokens) == decoder.capacity", "")],
    caught_by=exercises.a_full_cache_ends_the_answer,
    nudge="The cache is full and you put one more token in. Compare `len(decoder.tokens)` with `decoder.capacity`.",
)
exercises.decode.mistake(
    "the last token needs no room",
    replace=[
        (
            "while len(answer) < num_tokens:",
            "while len(answer) < num_tokens and len(decoder.tokens) < decoder.capacity:",
        ),
    ],
    caught_by=exercises.a_full_cache_ends_the_answer,
    nudge="With the cache full, the logits at hand still give one token. It need not go into the cache.",
)
exercises.decode.mistake(
    "writes at least one",
    replace=[("while len(answer) < num_tokens:", "while True:")],
    caught_by=hidden.empty_answers,
    nudge="Where no token is wanted, none is written. Your loop looks at `num_tokens` only after the first.",
)
exercises.decode.mistake(
    "knows one end token only",
    replace=[("token in end_tokens", "token in end_tokens[:1]")],
    caught_by=hidden.every_way_to_stop,
    nudge="There may be several end tokens, and each of them ends the answer.",
)
exercises.decode.alternative("""
def decode(decoder, logits, num_tokens, end_tokens):
    room = decoder.capacity - len(decoder.tokens)
    answer = []
    for i in range(min(num_tokens, room + 1)):
        if i:
            logits = decoder.step(answer[-1:])
        best = logits.argmax().item()
        if best in set(end_tokens):
            return answer
        answer.append(best)
    return answer
""")
exercises.decode.alternative("""
def decode(decoder, logits, num_tokens, end_tokens):
    if num_tokens == 0:
        return []
    token = max(range(len(logits)), key=lambda i: float(logits[i]))
    if token in end_tokens:
        return []
    if num_tokens == 1 or len(decoder.tokens) >= decoder.capacity:
        return [token]
    return [token] + decode(decoder, decoder.step([token]), num_tokens - 1, end_tokens)
""")
