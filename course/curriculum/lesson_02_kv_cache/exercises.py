"""Exercises of lesson 02: a cache of keys and values, what may be seen through it, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from course.exercises import TORCH, Cases, call, define, expect
from course.figures.masks import mask_grid

if TYPE_CHECKING:  # cells are granted it; listing exercises should not import it
    import math

    import torch
    from torch import Tensor


def rotate(heads: Tensor, positions: Tensor) -> Tensor:
    """Turn the vectors of each token by its position (RoPE); ``heads`` is [heads, tokens, head_dim]."""
    import torch

    half = heads.shape[-1] // 2
    frequencies = 50_000.0 ** (-torch.arange(half) / half)
    angles = torch.outer(positions.float(), frequencies)
    left, right = heads[..., :half], heads[..., half:]
    return torch.cat([left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin()], dim=-1)


# 1: append


@define("kv_cache.append", points=1, grants=TORCH)
def append(cache: tuple[Tensor, Tensor], keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The cache with the keys and values of new tokens behind those that it holds.

    `cache` is a pair (keys, values), each [heads, cached tokens, head_dim].
    `keys` and `values` are [heads, new tokens, head_dim].
    Return a new pair. About 2 lines.
    """
    old_keys, old_values = cache
    return torch.cat([old_keys, keys], dim=1), torch.cat([old_values, values], dim=1)


def stacked(rng: np.random.Generator, heads: int, tokens: int, head_dim: int) -> np.ndarray:
    """Random vectors [heads, tokens, head_dim]."""
    return rng.standard_normal((heads, tokens, head_dim)).astype(np.float32)


def as_tensor(array: Any) -> Any:
    """A torch tensor of single precision."""
    import torch

    return torch.tensor(np.asarray(array), dtype=torch.float32)


@append.check(hint="Axis 1 counts the tokens: old ones first, new ones behind them. Keys and values stay apart.")
def new_tokens_stand_behind_the_old(rng: np.random.Generator) -> Cases:
    for heads, cached, new, head_dim in ((1, 1, 1, 2), (2, 2, 1, 2), (2, 3, 2, 4)):
        pair = [stacked(rng, heads, cached + new, head_dim) for _kv in "kv"]
        before = tuple(as_tensor(part[:, :cached]) for part in pair)
        later = [as_tensor(part[:, cached:]) for part in pair]
        yield call(before, *later).returns(tuple(as_tensor(part) for part in pair))


@append.check(hint="An empty cache has shape [heads, 0, head_dim]; what follows it is the prompt.")
def an_empty_cache_takes_the_prompt(rng: np.random.Generator) -> Cases:
    keys, values = (as_tensor(stacked(rng, 2, 3, 4)) for _kv in "kv")
    yield call((keys[:, :0], values[:, :0]), keys, values).returns((keys, values))


append.mistake(
    "puts tokens where heads are",
    text="def append(cache, keys, values):\n    return torch.cat([cache[0], keys]), torch.cat([cache[1], values])\n",
    caught_by=new_tokens_stand_behind_the_old,
    nudge="`torch.cat` joins along axis 0 unless told otherwise, and axis 0 counts the heads. Which one counts tokens?",
)
append.mistake(
    "joins along head_dim",
    text=(
        "def append(cache, keys, values):\n"
        "    return torch.cat([cache[0], keys], dim=-1), torch.cat([cache[1], values], dim=-1)\n"
    ),
    caught_by=new_tokens_stand_behind_the_old,
    nudge="The last axis is the vector of one token in one head. A new token makes no vector longer.",
)
append.mistake(
    "new before old",
    replace=[("[old_keys, keys]", "[keys, old_keys]"), ("[old_values, values]", "[values, old_values]")],
    caught_by=new_tokens_stand_behind_the_old,
    nudge="The text grows at its end: new tokens stand behind the old ones.",
)
append.mistake(
    "keeps only what is new",
    text="def append(cache, keys, values):\n    return keys, values\n",
    caught_by=new_tokens_stand_behind_the_old,
    nudge="What the cache held is gone. The new token has to look at all tokens before it.",
)
append.mistake(
    "stores the keys twice",
    replace=[("[old_values, values]", "[old_values, keys]")],
    caught_by=new_tokens_stand_behind_the_old,
    nudge="The second half of the pair holds values, and yours got keys.",
)
append.mistake(
    "swaps keys and values",
    text=(
        "def append(cache, keys, values):\n"
        "    return torch.cat([cache[1], values], dim=1), torch.cat([cache[0], keys], dim=1)\n"
    ),
    caught_by=new_tokens_stand_behind_the_old,
    nudge="Keys come first in the pair, values second; yours come the other way round.",
)
append.mistake(
    "stacks",
    text=(
        "def append(cache, keys, values):\n"
        "    return torch.stack([cache[0], keys], dim=1), torch.stack([cache[1], values], dim=1)\n"
    ),
    caught_by=new_tokens_stand_behind_the_old,
    nudge="`stack` makes a new axis. The axis of tokens is there already and only grows longer: `torch.cat`.",
)
append.mistake(
    "adds",
    text="def append(cache, keys, values):\n    return cache[0] + keys, cache[1] + values\n",
    caught_by=new_tokens_stand_behind_the_old,
    nudge="`+` adds numbers: the old token and the new one become one. Tensors are joined by `torch.cat`.",
)
append.mistake(
    "appends as to a list",
    text="def append(cache, keys, values):\n    cache[0].append(keys)\n    cache[1].append(values)\n    return cache\n",
    caught_by=new_tokens_stand_behind_the_old,
    nudge="Tensors do not grow in place as lists do. `torch.cat([one, other], dim=...)` makes a longer one.",
)
append.mistake(
    "writes into the pair",
    text=(
        "def append(cache, keys, values):\n"
        "    cache[0] = torch.cat([cache[0], keys], dim=1)\n"
        "    cache[1] = torch.cat([cache[1], values], dim=1)\n"
        "    return cache\n"
    ),
    caught_by=new_tokens_stand_behind_the_old,
    nudge="A pair is a tuple, and a tuple never changes. Return a new one: `return new_keys, new_values`.",
)
append.mistake(
    "joins the pairs",
    text="def append(cache, keys, values):\n    return torch.cat([cache, (keys, values)], dim=1)\n",
    caught_by=new_tokens_stand_behind_the_old,
    nudge="`cache` is a pair, not a tensor. Take it apart, `old_keys, old_values = cache`, and join keys to keys.",
)
append.mistake(
    "cat without a list",
    text="def append(cache, keys, values):\n    return torch.cat(cache[0], keys), torch.cat(cache[1], values)\n",
    caught_by=new_tokens_stand_behind_the_old,
    nudge="`torch.cat` takes a list of tensors, then the axis: `torch.cat([one, other], dim=...)`.",
)
append.mistake(
    "keys alone",
    text="def append(cache, keys, values):\n    return torch.cat([cache[0], keys], dim=1)\n",
    caught_by=new_tokens_stand_behind_the_old,
    nudge="The values are missing. A cache is a pair: return both.",
)
append.alternative(
    """
def append(cache, keys, values):
    grown = []
    for old, new in zip(cache, (keys, values)):
        room = torch.empty(old.shape[0], old.shape[1] + new.shape[1], old.shape[2])
        room[:, : old.shape[1]] = old
        room[:, old.shape[1] :] = new
        grown.append(room)
    return tuple(grown)
"""
)


# 2: visible


@define("kv_cache.visible", points=1, grants=TORCH)
def visible(num_new: int, num_cached: int) -> Tensor:
    """Which tokens each new token may look at: True where it may.

    Shape [num_new, num_cached + num_new]: the columns are the cached tokens, then the new ones. A
    token sees itself and all tokens before it. About 2 lines.
    """
    positions = torch.arange(num_cached + num_new)
    return positions <= positions[num_cached:, None]


def mask_of(num_new: int, num_cached: int) -> Any:
    """Row by row: new token i stands at position num_cached + i and sees what stands at or before that."""
    import torch

    columns = range(num_cached + num_new)
    return torch.tensor([[column <= num_cached + row for column in columns] for row in range(num_new)])


def draw_masks(expected: Any, got: Any) -> str:
    """What each new token sees and what it should see, side by side; wrong cells have a red frame."""
    masks = {"should see": expected.tolist()}
    if getattr(got, "ndim", 0) == 2 and got.numel() <= 200:
        masks = {"yours": (got > 0).tolist(), **masks}
    num_new, num_tokens = expected.shape
    return mask_grid(masks, start=num_tokens - num_new)


@visible.check(
    hint="Nothing is cached: the new tokens are the whole text, each sees itself and those before.", picture=draw_masks
)
def a_prompt_alone(rng: np.random.Generator) -> Cases:
    for num_new in (2, 4, 1):
        yield call(num_new, 0).returns(mask_of(num_new, 0))


@visible.check(
    hint="The first new token stands behind all cached ones, and sees every one of them.", picture=draw_masks
)
def new_tokens_behind_cached_ones(rng: np.random.Generator) -> Cases:
    yield call(1, 2).returns(mask_of(1, 2))
    for most in (2, 4):
        num_new, num_cached = (int(n) for n in rng.integers(most, most + 2, 2))
        yield call(num_new, num_cached).returns(mask_of(num_new, num_cached))


visible.mistake(
    "a mask as if nothing were cached",
    replace=[("positions[num_cached:, None]", "positions[:num_new, None]")],
    caught_by=new_tokens_behind_cached_ones,
    nudge="Your first new token sees only the first column. It stands behind all cached tokens, and sees them all.",
)
visible.mistake(
    "only the new tokens among themselves",
    text="def visible(num_new, num_cached):\n    return torch.ones(num_new, num_new, dtype=torch.bool).tril()\n",
    caught_by=new_tokens_behind_cached_ones,
    nudge="The cached tokens have no columns yet. A new token sees them all, and they stand to the left.",
)
visible.mistake(
    "hides what is cached",
    text=(
        "def visible(num_new, num_cached):\n"
        "    own = torch.ones(num_new, num_new, dtype=torch.bool).tril()\n"
        "    return torch.cat([torch.zeros(num_new, num_cached, dtype=torch.bool), own], dim=1)\n"
    ),
    caught_by=new_tokens_behind_cached_ones,
    nudge="All that is cached came before every new token, so every new token may see it.",
)
visible.mistake(
    "sees the future",
    text="def visible(num_new, num_cached):\n    return torch.ones(num_new, num_cached + num_new, dtype=torch.bool)\n",
    caught_by=a_prompt_alone,
    nudge="Your first new token sees the ones after it. When it is computed, they do not exist yet.",
)
visible.mistake(
    "does not see itself",
    replace=[("positions <= positions", "positions < positions")],
    caught_by=a_prompt_alone,
    nudge="A token also looks at itself; the very first one would have nothing to look at otherwise.",
)
visible.mistake(
    "says what to hide",
    replace=[("positions <= positions", "positions > positions")],
    caught_by=a_prompt_alone,
    nudge="True should stand where a token may look. Yours has True where it may not.",
)
visible.mistake(
    "looks ahead instead of back",
    replace=[("positions <= positions", "positions >= positions")],
    caught_by=a_prompt_alone,
    nudge="Yours looks ahead. A row for each new token, and in it True from the left up to the token itself.",
)
visible.mistake(
    "numbers instead of True and False",
    text="def visible(num_new, num_cached):\n    return torch.ones(num_new, num_cached + num_new).tril(num_cached)\n",
    caught_by=a_prompt_alone,
    nudge="The places are right, but ones and zeros are numbers: `dtype=torch.bool`, or compare.",
)
visible.mistake(
    "the whole square",
    text=(
        "def visible(num_new, num_cached):\n"
        "    total = num_cached + num_new\n"
        "    return torch.ones(total, total, dtype=torch.bool).tril()\n"
    ),
    caught_by=new_tokens_behind_cached_ones,
    nudge="A row for every token, cached ones too. Only the new ones ask now: which rows of the square are theirs?",
)
visible.mistake(
    "one short of itself behind a cache",
    replace=[("positions[num_cached:, None]", "positions[num_cached:, None] - min(num_cached, 1)")],
    caught_by=new_tokens_behind_cached_ones,
    nudge="Behind a cache your new token does not see itself. It stands at position num_cached, counted from 0.",
)
visible.alternative(
    """
def visible(num_new, num_cached):
    return torch.ones(num_new, num_cached + num_new, dtype=torch.bool).tril(diagonal=num_cached)
"""
)


# 3: attend


@define("kv_cache.attend", points=3, grants=(*TORCH, rotate), builds_on=(append, visible))
def attend(
    query: Tensor, key: Tensor, value: Tensor, cache: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """New tokens look at themselves and at all that is cached.

    `query` is [query heads, new tokens, head_dim], `key` and `value` are [KV heads, new tokens,
    head_dim]. Return the output for each query, and the cache with the new tokens in it.

    `rotate(heads, positions)` turns queries and keys, never values. The keys in `cache` were
    turned when they were new. `append` and `visible` are at hand.
    """
    # yours: about 5 lines. Turn query and key, let the cache grow, set `seen` to the mask.
    num_new, num_cached = query.shape[1], cache[0].shape[1]
    positions = torch.arange(num_cached, num_cached + num_new)
    query, key = rotate(query, positions), rotate(key, positions)
    cache = append(cache, key, value)
    seen = visible(num_new, num_cached)
    # end
    share = len(query) // len(key)  # query heads that share a KV head
    keys, values = (part.repeat_interleave(share, dim=0) for part in cache)
    scores = query @ keys.transpose(1, 2) / math.sqrt(query.shape[-1])
    weights = scores.masked_fill(~seen, -math.inf).softmax(dim=-1)
    return weights @ values, cache


def turned(heads: np.ndarray) -> np.ndarray:
    """Each token turned by its place in the text, pair by pair, as a multiplication of complex numbers."""
    half = heads.shape[-1] // 2
    out = np.empty(heads.shape)
    for place in range(heads.shape[1]):
        for pair in range(half):
            angle = place * 50_000.0 ** (-pair / half)
            number = (heads[:, place, pair] + 1j * heads[:, place, half + pair]) * np.exp(1j * angle)
            out[:, place, pair], out[:, place, half + pair] = number.real, number.imag
    return out


def attended(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The whole text at once, without a cache: token by token, head by head."""
    query, key = turned(query), turned(key)
    share = len(query) // len(key)
    out = np.empty(query.shape)
    for head in range(len(query)):
        for place in range(query.shape[1]):
            scores = key[head // share, : place + 1] @ query[head, place] / np.sqrt(query.shape[-1])
            weights = np.exp(scores - scores.max())
            out[head, place] = weights @ value[head // share, : place + 1] / weights.sum()
    return out


def continued(rng: np.random.Generator, heads: tuple[int, int], num_cached: int, num_new: int) -> Any:
    """A text whose first tokens are cached: the call that adds the others, and what the text gives without a cache."""
    num_tokens, head_dim = num_cached + num_new, 4
    query = stacked(rng, heads[0], num_tokens, head_dim)
    key, value = (stacked(rng, heads[1], num_tokens, head_dim) for _kv in "kv")
    wanted, kept = attended(query, key, value)[:, num_cached:], (as_tensor(turned(key)), as_tensor(value))
    cache = tuple(part[:, :num_cached] for part in kept)
    new = (as_tensor(part[:, num_cached:]) for part in (query, key, value))
    return call(*new, cache).returns((as_tensor(wanted), kept), rtol=1e-3, atol=1e-4)


@attend.check(hint="Nothing is cached: positions 0, 1, 2, …; each token sees itself and those before it.")
def a_prompt_into_an_empty_cache(rng: np.random.Generator) -> Cases:
    for num_new in (1, 2, 4):
        yield continued(rng, (2, 1), 0, num_new)


@attend.check(hint="A decode step: the new token stands behind all cached ones, and so does its position.")
def one_token_behind_the_cache(rng: np.random.Generator) -> Cases:
    yield continued(rng, (1, 1), 2, 1)
    for num_cached in (3, int(rng.integers(4, 9))):
        yield continued(rng, (4, 2), num_cached, 1)


@attend.check(hint="Several new tokens behind cached ones: all see the cache, none sees a later one.")
def several_tokens_behind_the_cache(rng: np.random.Generator) -> Cases:
    yield continued(rng, (1, 1), 1, 2)
    yield continued(rng, (4, 2), int(rng.integers(2, 5)), 3)


attend.mistake(
    "positions start again at 0",
    replace=[("torch.arange(num_cached, num_cached + num_new)", "torch.arange(num_new)")],
    caught_by=one_token_behind_the_cache,
    nudge="Your new token stands at position 0, like the first of the prompt. It stands behind all that is cached.",
)
attend.mistake(
    "positions one too far",
    replace=[("torch.arange(num_cached, num_cached + num_new)", "torch.arange(num_cached, num_cached + num_new) + 1")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="Positions count from 0: with n tokens cached, the next one stands at position n.",
)
attend.mistake(
    "one position for all new tokens",
    replace=[("torch.arange(num_cached, num_cached + num_new)", "torch.full((num_new,), num_cached)")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="Your new tokens all stand at one place. Each has a position; and `rotate` changes nothing, it returns.",
)
attend.mistake(
    "the last cached position again",
    replace=[("torch.arange(num_cached, num_cached + num_new)", "torch.arange(num_new) + max(num_cached - 1, 0)")],
    caught_by=one_token_behind_the_cache,
    nudge="n cached tokens stand at 0 … n - 1. Your new token shares the last one's place.",
)
attend.mistake(
    "keys are not turned",
    replace=[("rotate(query, positions), rotate(key, positions)", "rotate(query, positions), key")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="The query knows its position, the key does not. Turn both, before the key is stored.",
)
attend.mistake(
    "queries are not turned",
    replace=[("rotate(query, positions), rotate(key, positions)", "query, rotate(key, positions)")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="The key knows its position and the query does not. Turn both, by the same positions.",
)
attend.mistake(
    "turns the cached keys again",
    replace=[
        ("query, key = rotate(query, positions), rotate(key, positions)", "query = rotate(query, positions)"),
        (
            "cache = append(cache, key, value)",
            "cache = append(cache, key, value)\n"
            "    cache = rotate(cache[0], torch.arange(num_cached + num_new)), cache[1]",
        ),
    ],
    caught_by=one_token_behind_the_cache,
    nudge="The keys in the cache were turned when they were new. Turn the new key alone, then append it.",
)
attend.mistake(
    "turns the values as well",
    replace=[("cache = append(cache, key, value)", "cache = append(cache, key, rotate(value, positions))")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="Positions decide who looks at whom: queries and keys. What is handed over, the value, is not turned.",
)
attend.mistake(
    "turns the value instead of the key",
    replace=[
        ("rotate(query, positions), rotate(key, positions)", "rotate(query, positions), key"),
        ("cache = append(cache, key, value)", "cache = append(cache, key, rotate(value, positions))"),
    ],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="The key is compared with the query: that pair must know its positions. The value must not.",
)
attend.mistake(
    "no mask",
    replace=[("visible(num_new, num_cached)", "torch.ones(num_new, num_cached + num_new, dtype=torch.bool)")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="Your tokens of a prompt see those after them. One new token alone needs no mask; a prompt does.",
)
attend.mistake(
    "the mask forgets the cache",
    replace=[
        ("visible(num_new, num_cached)", "torch.ones(num_new, num_cached + num_new, dtype=torch.bool).tril()"),
    ],
    caught_by=one_token_behind_the_cache,
    nudge="Your mask begins as if nothing were cached: a new token sees only the oldest. `visible` takes two numbers.",
)
attend.mistake(
    "a square mask",
    replace=[("visible(num_new, num_cached)", "visible(num_new, 0)")],
    caught_by=several_tokens_behind_the_cache,
    nudge="Your mask has a column for each new token and none for the cached ones. How many are cached?",
)
attend.mistake(
    "counts what is cached too late",
    replace=[
        ("seen = visible(num_new, num_cached)", "seen = visible(num_new, cache[0].shape[1])"),
    ],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="Your mask does not fit the cache. Count the cached tokens along axis 1, and before `append` adds new ones.",
)
attend.mistake(
    "the longer cache is thrown away",
    replace=[("cache = append(cache, key, value)", "append(cache, key, value)")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="`append` changes nothing, it returns a new pair. Keep it: the lines below and the next step need it.",
)
attend.mistake(
    "key and value exchanged",
    replace=[("cache = append(cache, key, value)", "cache = append(cache, value, key)")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="`append(cache, keys, values)`: keys first.",
)
attend.mistake(
    "positions of the whole text",
    replace=[("torch.arange(num_cached, num_cached + num_new)", "torch.arange(num_cached + num_new)")],
    caught_by=one_token_behind_the_cache,
    nudge="That is a position for every token of the text. Only new ones are turned; the cached keys were, before.",
)
attend.mistake(
    "positions end too early",
    replace=[("torch.arange(num_cached, num_cached + num_new)", "torch.arange(num_cached, num_new)")],
    caught_by=one_token_behind_the_cache,
    nudge="`torch.arange(start, end)`: it begins at num_cached and has num_new members. Where does it end?",
)
attend.mistake(
    "a number for a position",
    replace=[("torch.arange(num_cached, num_cached + num_new)", "num_cached")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="`rotate` wants a tensor with a position for each new token: `torch.arange(start, end)`.",
)
attend.mistake(
    "counts heads for tokens",
    replace=[("query.shape[1], cache[0].shape[1]", "query.shape[0], cache[0].shape[0]")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="Axis 0 counts heads. Tokens are counted by axis 1.",
)
attend.mistake(
    "the length of the pair",
    replace=[("query.shape[1], cache[0].shape[1]", "query.shape[1], len(cache)")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="`len(cache)` is 2, for keys and values. Tokens are counted by axis 1 of the keys.",
)
attend.mistake(
    "new and cached exchanged",
    replace=[("visible(num_new, num_cached)", "visible(num_cached, num_new)")],
    caught_by=a_prompt_into_an_empty_cache,
    nudge="`visible(num_new, num_cached)`: the new ones first.",
)
attend.alternative(
    """
def attend(query, key, value, cache):
    old_keys, old_values = cache
    outputs = []
    for i in range(query.shape[1]):  # token by token: no mask is needed
        here = torch.tensor([old_keys.shape[1]])
        old_keys = torch.cat([old_keys, rotate(key[:, i : i + 1], here)], dim=1)
        old_values = torch.cat([old_values, value[:, i : i + 1]], dim=1)
        q = rotate(query[:, i : i + 1], here)
        share = q.shape[0] // old_keys.shape[0]
        rows = []
        for head in range(q.shape[0]):
            scores = q[head] @ old_keys[head // share].T * q.shape[-1] ** -0.5
            rows.append(torch.softmax(scores, -1) @ old_values[head // share])
        outputs.append(torch.stack(rows))
    return torch.cat(outputs, dim=1), (old_keys, old_values)
"""
)


# 4: generate


def with_a_model(learner: Any, prompt: list[int], num_tokens: int) -> tuple[Any, list[int]]:
    """Run a learner's loop with a model that weighs all tokens it has seen; the answer, and how many went in when."""
    steps = []

    class Model:
        def empty_cache(self) -> tuple[int, ...]:
            return ()

        def step(self, tokens: Any, cache: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
            new = [int(token) for token in tokens]
            if not new:
                raise ValueError("a step needs at least one token")
            steps.append(len(new))
            cache = (*cache, *new)
            return sum((place + 1) * (token + 3) for place, token in enumerate(cache)) % 89, cache

    return learner(Model(), prompt, num_tokens), steps


@define("kv_cache.generate", points=2, through=with_a_model)
def generate(model, prompt: list[int], num_tokens: int) -> list[int]:
    """The next `num_tokens` tokens (1 or more); no token goes through the model twice.

    `model.empty_cache()` is a cache of nothing. `model.step(tokens, cache)` puts a list of new
    tokens through the model, behind those in the cache. It returns the token that follows, and
    the longer cache. First prefill: the whole prompt in one step. Then decode: one token at a
    time. About 5 lines.
    """
    token, cache = model.step(prompt, model.empty_cache())
    answer = [token]
    while len(answer) < num_tokens:
        token, cache = model.step([token], cache)
        answer.append(token)
    return answer


def followers(prompt: list[int], num_tokens: int) -> list[int]:
    """What the model of `with_a_model` writes, read anew from the first token each time."""
    text = list(prompt)
    for _ in range(num_tokens):
        text.append(sum((place + 1) * (token + 3) for place, token in enumerate(text)) % 89)
    return text[len(prompt) :]


def some_prompt(rng: np.random.Generator, length: int) -> list[int]:
    """Random tokens."""
    return [int(token) for token in rng.integers(1, 80, length)]


def is_a_list(got: Any) -> bool:
    """Whether the learner's function returned a list."""
    return isinstance(got[0], list)


@generate.check(hint="The first token of the answer comes out of the prefill; each decode step gives one more.")
def the_tokens_are_those_without_a_cache(rng: np.random.Generator) -> Cases:
    for length, num_tokens in ((2, 1), (3, 2), (int(rng.integers(4, 8)), int(rng.integers(3, 7)))):
        prompt = some_prompt(rng, length)
        wanted, call_it = followers(prompt, num_tokens), call(prompt=prompt, num_tokens=num_tokens)
        answer, _ = yield call_it.satisfies(is_a_list, "`generate` must return a list of tokens")
        expect(answer == wanted, f"After {prompt} this model writes {wanted}; your answer is {str(answer)[:100]}")


@generate.check(hint="Count the tokens of each step: the prompt, then 1, 1, 1, …")
def each_token_goes_through_once(rng: np.random.Generator) -> Cases:
    for length, num_tokens in ((3, 1), (4, 3), (int(rng.integers(4, 8)), int(rng.integers(4, 7)))):
        steps = [length] + [1] * (num_tokens - 1)
        _, taken = yield call(prompt=some_prompt(rng, length), num_tokens=num_tokens)
        sentence = (
            f"A prompt of {length} and an answer of {num_tokens} take steps of {steps} tokens; yours took {taken}"
        )
        expect(taken == steps, sentence)


generate.mistake(
    "the whole text again, behind the cache",
    replace=[("model.step([token], cache)", "model.step([*prompt, *answer], cache)")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="The prompt is in the cache already; you put it in a second time, behind itself. What is new is one token.",
)
generate.mistake(
    "the whole text again, without the cache",
    replace=[("model.step([token], cache)", "model.step([*prompt, *answer], model.empty_cache())")],
    caught_by=each_token_goes_through_once,
    nudge="The tokens are right, but each step begins with an empty cache and reads the whole text again.",
)
generate.mistake(
    "forgets the past",
    replace=[("model.step([token], cache)", "model.step([token], model.empty_cache())")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="With an empty cache a decode step sees nothing before its token. Hand it the cache of the step before.",
)
generate.mistake(
    "the longer cache is thrown away",
    replace=[("token, cache = model.step([token], cache)", "token, _ = model.step([token], cache)")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="Each step returns a longer cache, and yours is dropped: the next step does not know the last token.",
)
generate.mistake(
    "loses the first token",
    text=(
        "def generate(model, prompt, num_tokens):\n"
        "    token, cache = model.step(prompt, model.empty_cache())\n"
        "    answer = []\n"
        "    for _ in range(num_tokens):\n"
        "        token, cache = model.step([token], cache)\n"
        "        answer.append(token)\n"
        "    return answer\n"
    ),
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="The prefill gives a token too, the first of the answer, and yours is missing from it.",
)
generate.mistake(
    "one token too many",
    replace=[("len(answer) < num_tokens", "len(answer) <= num_tokens")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="One token too many: the prefill gives the first, so only num_tokens - 1 decode steps are left.",
)
generate.mistake(
    "the end of the prompt goes in twice",
    text=(
        "def generate(model, prompt, num_tokens):\n"
        "    _, cache = model.step(prompt, model.empty_cache())\n"
        "    token, answer = prompt[-1], []\n"
        "    while len(answer) < num_tokens:\n"
        "        token, cache = model.step([token], cache)\n"
        "        answer.append(token)\n"
        "    return answer\n"
    ),
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="The last token of the prompt is in the cache; you put it in again. The prefill itself gives the next token.",
)
generate.mistake(
    "one step that nobody needs",
    text=(
        "def generate(model, prompt, num_tokens):\n"
        "    token, cache = model.step(prompt, model.empty_cache())\n"
        "    answer = []\n"
        "    for _ in range(num_tokens):\n"
        "        answer.append(token)\n"
        "        token, cache = model.step([token], cache)\n"
        "    return answer\n"
    ),
    caught_by=each_token_goes_through_once,
    nudge="The tokens are right, but the last one goes through the model too, and what follows it is thrown away.",
)
generate.mistake(
    "the prompt token by token",
    text=(
        "def generate(model, prompt, num_tokens):\n"
        "    cache = model.empty_cache()\n"
        "    for token in prompt:\n"
        "        following, cache = model.step([token], cache)\n"
        "    answer = [following]\n"
        "    while len(answer) < num_tokens:\n"
        "        following, cache = model.step([following], cache)\n"
        "        answer.append(following)\n"
        "    return answer\n"
    ),
    caught_by=each_token_goes_through_once,
    nudge="The tokens are right, but the prompt is known from the start: all of it can go in together, in one step.",
)
generate.mistake(
    "returns the prompt as well",
    replace=[("return answer", "return prompt + answer")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="The prompt is not part of the answer.",
)
generate.mistake(
    "returns the last token alone",
    replace=[("return answer", "return answer[-1:]")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="All tokens of the answer are wanted, in order, not only the last.",
)
generate.mistake(
    "loses the first token, and is one short",
    text=(
        "def generate(model, prompt, num_tokens):\n"
        "    token, cache = model.step(prompt, model.empty_cache())\n"
        "    answer = []\n"
        "    for _ in range(num_tokens - 1):\n"
        "        token, cache = model.step([token], cache)\n"
        "        answer.append(token)\n"
        "    return answer\n"
    ),
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="One token is missing: the first, which the prefill gave.",
)
generate.mistake(
    "a token that is not in a list",
    replace=[("model.step([token], cache)", "model.step(token, cache)")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="`step` takes a list of tokens. One token makes a list of one.",
)
generate.mistake(
    "takes the pair for the token",
    text=(
        "def generate(model, prompt, num_tokens):\n"
        "    cache = model.empty_cache()\n"
        "    token = model.step(prompt, cache)\n"
        "    answer = [token]\n"
        "    while len(answer) < num_tokens:\n"
        "        token = model.step([token], cache)\n"
        "        answer.append(token)\n"
        "    return answer\n"
    ),
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="`step` returns two things, the token and the longer cache: `token, cache = model.step(...)`.",
)
generate.mistake(
    "forgets to hand over the cache",
    replace=[("model.step(prompt, model.empty_cache())", "model.step(prompt)")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="`step` takes two things: the tokens, and the cache that they stand behind.",
)
generate.mistake(
    "begins without a cache",
    replace=[("(prompt, model.empty_cache())", "(prompt, None)")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="The first step has a cache, too, one with nothing in it: `model.empty_cache()`.",
)
generate.mistake(
    "forgets the parentheses",
    replace=[("(prompt, model.empty_cache())", "(prompt, model.empty_cache)")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="`empty_cache` is a method: it gives a cache when it is called, `model.empty_cache()`.",
)
generate.mistake(
    "the answer so far, behind the cache",
    replace=[("model.step([token], cache)", "model.step(answer, cache)")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="All of the answer but its last token is in the cache already. Only the last one is new.",
)
generate.mistake(
    "always the same token",
    replace=[
        ("token, cache = model.step([token], cache)", "following, cache = model.step([token], cache)"),
        ("answer.append(token)", "answer.append(following)"),
    ],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="What goes in is always the first token of the answer. The next step needs the latest one.",
)
generate.mistake(
    "the end of the prompt on its own",
    text=(
        "def generate(model, prompt, num_tokens):\n"
        "    _, cache = model.step(prompt[:-1], model.empty_cache())\n"
        "    token, answer = prompt[-1], []\n"
        "    while len(answer) < num_tokens:\n"
        "        token, cache = model.step([token], cache)\n"
        "        answer.append(token)\n"
        "    return answer\n"
    ),
    caught_by=each_token_goes_through_once,
    nudge="The tokens are right, with a step too many: put in the whole prompt, and its step gives the first token.",
)
generate.mistake(
    "returns nothing",
    replace=[("    return answer\n", "")],
    caught_by=the_tokens_are_those_without_a_cache,
    nudge="The answer is written, and then lost: is a `return` missing?",
)
generate.alternative(
    """
def generate(model, prompt, num_tokens):
    new, cache, text = prompt, model.empty_cache(), []
    for _ in range(num_tokens):
        token, cache = model.step(new, cache)
        new = [token]
        text += new
    return text
"""
)


# 5: kv_bytes


@define("kv_cache.kv_bytes", points=2)
def kv_bytes(
    num_layers: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    element_bytes: int = 2,
) -> int:
    """Bytes that one token leaves in the cache of a model.

    `num_heads` counts the query heads, `num_kv_heads` the heads with keys and values of their
    own: all of them (MHA), a few (GQA) or one (MQA). A number takes `element_bytes`. 1 line.
    """
    return 2 * num_layers * num_kv_heads * head_dim * element_bytes


def kept_bytes(num_layers: int, num_kv_heads: int, head_dim: int, element_bytes: int) -> int:
    """Go through a cache of one token and count."""
    kept = [np.zeros(head_dim) for _layer in range(num_layers) for _head in range(num_kv_heads) for _kv in "kv"]
    return sum(element_bytes * vector.size for vector in kept)


@kv_bytes.check(hint="What does one head of one layer keep of a token? How many such heads, how many layers?")
def every_head_with_its_own_keys(rng: np.random.Generator) -> Cases:
    yield call(1, 1, 1, 3, 5).returns(kept_bytes(1, 1, 3, 5))
    for most in (1, 2):
        layers, heads, head_dim = (most * int(prime) for prime in rng.permutation([3, 5, 7]))
        yield call(layers, heads, heads, head_dim, 4).returns(kept_bytes(layers, heads, head_dim, 4))


@kv_bytes.check(hint="Query heads that share keys and values add nothing to the cache.")
def shared_keys_and_values(rng: np.random.Generator) -> Cases:
    yield call(1, 2, 1, 3, 2).returns(kept_bytes(1, 1, 3, 2))
    layers, kv_heads, share = (int(n) for n in rng.integers(2, 5, 3))
    yield call(layers, kv_heads * share, kv_heads, 8, 2).returns(kept_bytes(layers, kv_heads, 8, 2))


@kv_bytes.check(hint="`element_bytes` is 2 unless another number is given.")
def two_bytes_unless_told(rng: np.random.Generator) -> Cases:
    layers = int(rng.integers(2, 9))
    yield call(layers, 4, 2, 3).returns(kept_bytes(layers, 2, 3, 2))


kv_bytes.mistake(
    "forgets K or V",
    replace=[("return 2 * ", "return ")],
    caught_by=every_head_with_its_own_keys,
    nudge="Exactly half of it: a token leaves a key and a value.",
)
kv_bytes.mistake(
    "one layer",
    replace=[("num_layers * ", "")],
    caught_by=every_head_with_its_own_keys,
    nudge="Every layer has keys and values of its own, and its own cache.",
)
kv_bytes.mistake(
    "one head",
    replace=[("num_kv_heads * ", "")],
    caught_by=every_head_with_its_own_keys,
    nudge="Every head that has keys and values of its own keeps them.",
)
kv_bytes.mistake(
    "one number per head",
    replace=[("head_dim * ", "")],
    caught_by=every_head_with_its_own_keys,
    nudge="A key is a vector of head_dim numbers.",
)
kv_bytes.mistake(
    "counts numbers, not bytes",
    replace=[(" * element_bytes", "")],
    caught_by=every_head_with_its_own_keys,
    nudge="Easily taken for one: the 2 of key and value, and the bytes of a number. You have one of them.",
)
kv_bytes.mistake(
    "always two bytes",
    replace=[(" * element_bytes", " * 2")],
    caught_by=every_head_with_its_own_keys,
    nudge="A number does not always take 2 bytes: ask `element_bytes`.",
)
kv_bytes.mistake(
    "counts in bits",
    replace=[(" * element_bytes", " * element_bytes * 8")],
    caught_by=every_head_with_its_own_keys,
    nudge="Eight times too much: bytes are wanted, not bits.",
)
kv_bytes.mistake(
    "query heads",
    replace=[("num_kv_heads * ", "num_heads * ")],
    caught_by=shared_keys_and_values,
    nudge="You count the query heads. Queries are not kept, and heads that share keys and values keep them once.",
)
kv_bytes.mistake(
    "queries, too",
    replace=[("2 * num_layers * num_kv_heads", "num_layers * (num_heads + 2 * num_kv_heads)")],
    caught_by=every_head_with_its_own_keys,
    nudge="A query is used once, by its own token, and never again. Only keys and values are kept.",
)
kv_bytes.mistake(
    "heads times shared heads",
    replace=[("num_kv_heads * ", "num_heads * num_kv_heads * ")],
    caught_by=every_head_with_its_own_keys,
    nudge="The two numbers of heads are not multiplied: which of them says how many keys there are?",
)
kv_bytes.alternative(
    """
def kv_bytes(num_layers, num_heads, num_kv_heads, head_dim, element_bytes=2):
    share = num_heads // num_kv_heads
    per_layer = sum(num_heads * head_dim // share for _ in ("k", "v"))
    return math.prod([per_layer, num_layers, element_bytes])
"""
)
