"""Lab 1: the parts of a decoder that writes with a cache of fixed size. Stubs and public checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from course.curriculum.lesson_02_kv_cache.exercises import rotate
from course.exercises import TORCH, Cases, call, define, expect
from course.exercises.show import describe

if TYPE_CHECKING:  # cells are granted it; listing exercises should not import it
    from torch import Tensor


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    """Bring each row of ``x`` [tokens, hidden] to a mean square of 1, then multiply by ``gain`` [hidden]."""
    return x / (x.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * gain


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random normal numbers."""
    return rng.standard_normal(shape)


def as_tensor(array: Any, dtype: str = "float32") -> Any:
    """The array as a torch tensor."""
    import torch

    return torch.tensor(np.asarray(array), dtype=getattr(torch, dtype))


def turned(heads: np.ndarray, start: int) -> np.ndarray:
    """Each token turned by its position, pair by pair, multiplying complex numbers; the first is at ``start``."""
    half = heads.shape[-1] // 2
    out = np.empty(heads.shape)
    for token in range(heads.shape[1]):
        for pair in range(half):
            angle = (start + token) * 50_000.0 ** (-pair / half)
            number = (heads[:, token, pair] + 1j * heads[:, token, half + pair]) * np.exp(1j * angle)
            out[:, token, pair], out[:, token, half + pair] = number.real, number.imag
    return out


# 1: store


def stores_or_refuses(learner: Callable[..., Any], cache: Any, start: int, keys: Any, values: Any) -> str:
    """What the learner's function did, in a word; what it made of the cache is compared as well."""
    before = cache.clone()
    try:
        learner(cache, start, keys, values)
    except ValueError:
        return "ValueError" if cache.equal(before) else "ValueError, but something was stored"
    return "nothing was stored" if cache.equal(before) else "stored"


@define("lab1.store", points=2, grants=(*TORCH, rotate), lab=True, hidden_checks=2, through=stores_or_refuses)
def store(cache: Tensor, start: int, keys: Tensor, values: Tensor) -> None:
    """Write new tokens into the cache, in place: the first one at position `start`.

    `cache` is [2, KV heads, capacity, head_dim]: keys in cache[0], values in cache[1].
    `keys` and `values` are [KV heads, new tokens, head_dim].

    Keys are turned by their positions first: `rotate(keys, positions)`. Values are not.
    Raise ValueError, and write nothing, if there is no room for all of them.
    The cache keeps its dtype, whatever dtype comes in. About 5 lines.
    """
    raise NotImplementedError


def stored(rng: np.random.Generator, shape: tuple[int, int, int], start: int, num_new: int, dtype: str) -> Any:
    """A call that stores tokens into a cache of [KV heads, capacity, head_dim], and the cache that must come of it."""
    kv_heads, _, head_dim = shape
    cache = numbers(rng, 2, *shape)  # what an earlier text has left
    keys, values = (numbers(rng, kv_heads, num_new, head_dim) for _kv in "kv")
    asked = call(as_tensor(cache, dtype), start, as_tensor(keys), as_tensor(values))
    cache[0, :, start : start + num_new], cache[1, :, start : start + num_new] = turned(keys, start), values
    close = 2e-2 if dtype == "bfloat16" else 1e-4
    return asked.returns("stored", rtol=close, atol=close).changes(0, to=as_tensor(cache, dtype))


@store.check(hint="Row `start` of the cache is the first new token's, in keys and values; all other rows stay.")
def tokens_go_where_they_belong(rng: np.random.Generator) -> Cases:
    yield stored(rng, (1, 3, 2), 0, 1, "float32")
    yield stored(rng, (1, 5, 2), 1, 2, "float32")
    yield stored(rng, (2, 6, 4), 3, 2, "float32")
    yield stored(rng, (2, 7, 4), int(rng.integers(3, 6)), 1, "float32")


@store.check(hint="A cache of capacity 4 that holds 3 has room for one more. Compare before anything is written.")
def a_full_cache_refuses(rng: np.random.Generator) -> Cases:
    for start, num_new in ((3, 2), (4, 1)):
        keys, values = (as_tensor(numbers(rng, 1, num_new, 2)) for _kv in "kv")
        yield call(as_tensor(numbers(rng, 2, 1, 4, 2)), start, keys, values).returns("ValueError")


# 2: attend


@define("lab1.attend", points=3, grants=(*TORCH, rotate), lab=True, hidden_checks=3)
def attend(query: Tensor, cache: Tensor, start: int) -> Tensor:
    """New tokens look into the cache, where their own keys and values are stored already.

    `query` is [query heads, new tokens, head_dim], not yet turned; the first of the new tokens
    stands at position `start`. `cache` is [2, KV heads, capacity, head_dim], as `store` leaves it.
    Behind the new tokens it holds leftovers that mean nothing.

    Neighbouring query heads share a KV head. Each new token sees itself and all before it.
    Return [query heads, new tokens, head_dim]; float32 and float64 are both welcome.
    About 8 lines.
    """
    raise NotImplementedError


def looked_up(query: np.ndarray, cache: np.ndarray, start: int) -> np.ndarray:
    """Token by token, head by head."""
    query, out = turned(query, start), np.empty(query.shape)
    share = len(query) // len(cache[0])
    for head in range(len(query)):
        for token in range(query.shape[1]):
            keys, values = cache[:, head // share, : start + token + 1]
            scores = keys @ query[head, token] / np.sqrt(query.shape[-1])
            weights = np.exp(scores - scores.max())
            out[head, token] = weights @ values / weights.sum()
    return out


def looking(
    rng: np.random.Generator,
    heads: tuple[int, int],
    start: int,
    num_new: int,
    *,
    left_over: int = 2,
    leftovers: float | None = None,
    head_dim: int = 4,
    scale: float = 1.0,
    dtype: str = "float32",
) -> Any:
    """New tokens behind ``start`` cached ones, ``left_over`` rows of something else behind them."""
    end = start + num_new
    query = scale * numbers(rng, heads[0], num_new, head_dim)
    cache = numbers(rng, 2, heads[1], end + left_over, head_dim)
    wanted = looked_up(query, cache, start)
    if leftovers is not None:
        cache[:, :, end:] = leftovers
    asked = call(as_tensor(query, dtype), as_tensor(cache, dtype), start)
    return asked.returns(as_tensor(wanted, dtype), rtol=1e-3, atol=1e-4 * max(scale / 10, 1))


@attend.check(hint="Positions begin at 0. Each token sees itself and those before it, and nothing that is left over.")
def a_prompt_from_its_beginning(rng: np.random.Generator) -> Cases:
    yield looking(rng, (1, 1), 0, 2)
    yield looking(rng, (4, 2), 0, 4)


@attend.check(hint="One new token at position `start` sees the `start` tokens before it, and itself.")
def one_token_behind_the_cache(rng: np.random.Generator) -> Cases:
    yield looking(rng, (1, 1), 2, 1)
    yield looking(rng, (4, 2), int(rng.integers(3, 7)), 1)


@attend.check(hint="Token i of the chunk stands at position start + i: it sees start + i + 1 tokens.")
def a_chunk_behind_the_cache(rng: np.random.Generator) -> Cases:
    yield looking(rng, (1, 1), 1, 2)
    yield looking(rng, (4, 2), int(rng.integers(2, 5)), 3)


# 3: layer


def with_an_attention(learner: Callable[..., Any], x: Any, weights: Any, head_dim: int) -> Any:
    """Run the learner's layer with an attention that is easy to follow by hand."""

    def attention(query: Any, key: Any, value: Any) -> Any:
        for name, heads in (("query", query), ("key", key), ("value", value)):
            shape = tuple(getattr(heads, "shape", ()))
            if len(shape) != 3 or shape[1:] != (len(x), head_dim):
                raise ValueError(f"attention wants a {name} of [heads, tokens, head_dim]; it was given {list(shape)}")
        share = len(query) // len(key)
        keys, values = (part.repeat_interleave(share, dim=0) for part in (key, value))
        return query + 2 * values.cumsum(dim=1) - 0.5 * keys

    return learner(x, weights, attention, head_dim)


@define(
    "lab1.layer",
    points=2,
    grants=(*TORCH, "from torch.nn.functional import silu", rms_norm),
    lab=True,
    hidden_checks=1,
    through=with_an_attention,
)
def layer(x: Tensor, weights: dict[str, Tensor], attention: Callable, head_dim: int) -> Tensor:
    """One layer of the decoder: [tokens, hidden] in, [tokens, hidden] out. `x` itself stays as it is.

    Attention: h = `rms_norm(x, weights["norm_1"])`. Its queries, keys and values are h times
    weights["q"], ["k"] and ["v"], each cut into heads: [heads, tokens, head_dim].
    `attention(query, key, value)` returns [query heads, tokens, head_dim]. Merge the heads,
    multiply by weights["o"], add to x. The heads together need not be as wide as x.

    MLP: h = `rms_norm` of that with weights["norm_2"]. `silu` of h times weights["gate"], number
    by number times (h times weights["up"]), all that times weights["down"]. Add again.

    All matrices are [out, in]: "h times W" is `h @ W.T`. About 8 lines.
    """
    raise NotImplementedError


def layered(x: np.ndarray, weights: dict[str, np.ndarray], head_dim: int) -> np.ndarray:
    """The layer with the attention of ``with_an_attention``, token by token and head by head."""
    out, sums = [], np.zeros(len(weights["v"]))
    for row in x:
        h = row / np.sqrt(np.mean(row**2) + 1e-6) * weights["norm_1"]
        query, key, value = (weights[name] @ h for name in "qkv")
        sums = sums + value
        share = len(query) // len(key)
        mixed = []
        for head in range(len(query) // head_dim):
            own = slice(head * head_dim, (head + 1) * head_dim)
            theirs = slice(head // share * head_dim, (head // share + 1) * head_dim)
            mixed.append(query[own] + 2 * sums[theirs] - 0.5 * key[theirs])
        row = row + weights["o"] @ np.concatenate(mixed)
        h = row / np.sqrt(np.mean(row**2) + 1e-6) * weights["norm_2"]
        gate, up = weights["gate"] @ h, weights["up"] @ h
        out.append(row + weights["down"] @ (gate / (1 + np.exp(-gate)) * up))
    return np.array(out)


def through_a_layer(
    rng: np.random.Generator, num_tokens: int, heads: tuple[int, int], head_dim: int, hidden: int, width: int
) -> Any:
    """Random rows through a random layer."""
    out, kv = heads[0] * head_dim, heads[1] * head_dim
    shapes = {"q": (out, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, out)}
    shapes |= {"gate": (width, hidden), "up": (width, hidden), "down": (hidden, width)}
    weights = {name: 0.5 * numbers(rng, *shape) for name, shape in shapes.items()}
    weights |= {name: rng.uniform(0.5, 2.0, hidden) for name in ("norm_1", "norm_2")}
    x = numbers(rng, num_tokens, hidden)
    tensors = {name: as_tensor(weight) for name, weight in weights.items()}
    asked = call(x=as_tensor(x), weights=tensors, head_dim=head_dim)
    return asked.returns(as_tensor(layered(x, weights, head_dim)), rtol=1e-3, atol=1e-3)


@layer.check(hint="Go through it with one token and a pencil: which rows go into which product, and what is added?")
def one_token(rng: np.random.Generator) -> Cases:
    yield through_a_layer(rng, 1, (1, 1), 2, 2, 3)
    yield through_a_layer(rng, 1, (2, 1), 2, 4, 6)


@layer.check(hint="Several tokens: a token's row is cut into heads, and heads are merged into one row per token.")
def several_tokens(rng: np.random.Generator) -> Cases:
    yield through_a_layer(rng, 2, (2, 2), 2, 4, 5)
    yield through_a_layer(rng, 3, (4, 2), 2, 8, 6)


# 4: prefill


def with_a_decoder(
    learner: Callable[..., Any], cached: list[int], prompt: list[int], chunk_size: int
) -> tuple[Any, list[list[int]], list[int]]:
    """Run the learner's prefill on a decoder that computes little: its logits, its steps, what is in its cache then."""
    import torch

    steps: list[list[int]] = []

    class Decoder:
        def __init__(self) -> None:
            self.tokens = list(cached)

        def step(self, tokens: Any) -> Any:
            new = [int(token) for token in tokens]
            if not new:
                raise ValueError("a step needs at least one token")
            steps.append(new)
            self.tokens += new
            logits = torch.zeros(97)
            logits[sum((place + 1) * (token + 3) for place, token in enumerate(self.tokens)) % 97] = 1
            return logits

        def rewind(self, length: int) -> None:
            if not 0 <= length <= len(self.tokens):
                raise ValueError(f"the cache holds {len(self.tokens)} tokens and cannot be rewound to {length}")
            del self.tokens[length:]

    decoder = Decoder()
    logits = learner(decoder, prompt, chunk_size)
    return logits, steps, decoder.tokens


@define("lab1.prefill", points=3, grants=TORCH, lab=True, hidden_checks=2, through=with_a_decoder)
def prefill(decoder, prompt: list[int], chunk_size: int) -> Tensor:
    """Bring the whole prompt into the decoder's cache; return the logits behind its last token.

    `decoder.tokens` is the list of tokens that are in the cache, from an earlier text perhaps.
    `decoder.rewind(length)` forgets all of them but the first `length`. `decoder.step(tokens)`
    puts a list of new tokens through the model, behind those in the cache, and returns the
    logits [vocabulary] behind the last one.

    What the prompt and the cache have in common at their beginnings is kept, not computed again.
    The rest goes through the model in order, `chunk_size` tokens a step, the last step perhaps
    with fewer. About 8 lines.
    """
    raise NotImplementedError


def followed(text: list[int]) -> list[float]:
    """The logits of the decoder in ``with_a_decoder``, from the text alone."""
    best = sum((place + 1) * (token + 3) for place, token in enumerate(text)) % 97
    return [float(token == best) for token in range(97)]


def some_tokens(rng: np.random.Generator, number: int) -> list[int]:
    """Random tokens; a later one is never like the first."""
    return [1, *(int(token) for token in rng.integers(2, 90, number - 1))][:number]


def check_prefill(cached: list[int], prompt: list[int], chunk_size: int, kept: int) -> Cases:
    """One prefill that should find ``kept`` of its tokens in the cache."""
    logits, steps, tokens = yield call(cached=cached, prompt=prompt, chunk_size=chunk_size)
    new = prompt[kept:]
    wanted = [new[at : at + chunk_size] for at in range(0, len(new), chunk_size)]
    said = f"With {cached} in the cache, the prompt {prompt} and chunks of {chunk_size}"
    expect(tokens == prompt, f"{said}, the cache must hold the prompt afterwards; yours holds {str(tokens)[:200]}")
    expect(steps == wanted, f"{said}, the steps are {wanted}; yours are {str(steps)[:200]}")
    is_row = getattr(logits, "shape", None) == (97,)
    expect(is_row, f"`prefill` must return logits, a tensor of shape (97,) here; yours returns {describe(logits)}")
    expect(logits.tolist() == followed(prompt), f"{said}, the logits behind the last token must be returned")


@prefill.check(hint="Nothing is cached. Cut the prompt into pieces of `chunk_size`; the last one may be shorter.")
def a_prompt_in_chunks(rng: np.random.Generator) -> Cases:
    for length, chunk_size in ((2, 2), (5, 2), (int(rng.integers(7, 10)), 3)):
        yield from check_prefill([], some_tokens(rng, length), chunk_size, 0)


@prefill.check(hint="Compare cache and prompt from the beginning, up to the first difference. Keep that much.")
def the_common_beginning_is_kept(rng: np.random.Generator) -> Cases:
    for kept, forgotten, new, chunk_size in ((2, 0, 2, 4), (2, 1, 3, 4), (4, 2, 5, 2)):
        text = some_tokens(rng, kept)
        yield from check_prefill([*text, *[90] * forgotten], [*text, *some_tokens(rng, new)], chunk_size, kept)


# 5: decode


def with_a_full_decoder(
    learner: Callable[..., Any], text: list[int], num_tokens: int, end_tokens: list[int], capacity: int
) -> tuple[Any, list[list[int]]]:
    """Run the learner's loop on a decoder that has just read ``text``: the answer, and what went through the model."""
    import torch

    steps: list[list[int]] = []

    class Decoder:
        def __init__(self) -> None:
            self.tokens = list(text)
            self.capacity = capacity

        def logits(self) -> Any:
            logits = -torch.arange(97.0) / 97 - 1
            logits[sum((place + 1) * (token + 3) for place, token in enumerate(self.tokens)) % 97] = -0.5
            return logits

        def step(self, tokens: Any) -> Any:
            new = [int(token) for token in tokens]
            if len(self.tokens) + len(new) > self.capacity:
                raise ValueError(f"the cache has room for {self.capacity} tokens and is full")
            steps.append(new)
            self.tokens += new
            return self.logits()

    decoder = Decoder()
    return learner(decoder, decoder.logits(), num_tokens, end_tokens), steps


@define("lab1.decode", points=2, grants=TORCH, lab=True, hidden_checks=2, through=with_a_full_decoder)
def decode(decoder, logits: Tensor, num_tokens: int, end_tokens: list[int]) -> list[int]:
    """Write an answer behind what is cached, always with the most likely token: a list of ints.

    `logits` [vocabulary] come from `prefill` and rate the first token of the answer.
    `decoder.step([token])` puts a token through the model, behind those in the cache, and
    returns the logits of the next one. Do not compute what nobody needs.

    Stop behind `num_tokens` tokens (0 or more), and at any of `end_tokens`, which is no part of
    the answer.
    Stop as well where the cache is full: it holds `len(decoder.tokens)` tokens and has room for
    `decoder.capacity`. The last token of an answer need not be in it. About 8 lines.
    """
    raise NotImplementedError


def written(text: list[int], num_tokens: int) -> list[int]:
    """What the decoder of ``with_a_full_decoder`` writes behind a text, read anew each time."""
    text, begin = list(text), len(text)
    while len(text) < begin + num_tokens:
        text.append(sum((place + 1) * (token + 3) for place, token in enumerate(text)) % 97)
    return text[begin:]


def check_decode(text: list[int], num_tokens: int, end_tokens: list[int], capacity: int) -> Cases:
    """One answer: its tokens, and the steps that it took."""
    full = written(text, min(num_tokens, capacity - len(text) + 1))
    ends = [place for place, token in enumerate(full) if token in end_tokens]
    wanted = full[: ends[0]] if ends else full
    asked = call(text=text, num_tokens=num_tokens, end_tokens=end_tokens, capacity=capacity)
    answer, steps = yield asked.satisfies(is_a_list_of_ints, "`decode` must return a list of ints")
    expect(answer == wanted, f"The answer is {wanted}; yours is {str(answer)[:200]}")
    inside = [[token] for token in (wanted if ends else wanted[:-1])]
    expect(steps == inside, f"For the answer {wanted} the steps are {inside}; yours are {str(steps)[:200]}")


def is_a_list_of_ints(got: Any) -> bool:
    """Whether the learner's answer is one."""
    return isinstance(got[0], list) and all(type(token) is int for token in got[0])


def a_text(rng: np.random.Generator, num_distinct: int) -> list[int]:
    """A text behind which the decoder writes so many different tokens."""
    while True:
        text = some_tokens(rng, 4)
        if len(set(written(text, num_distinct))) == num_distinct:
            return text


@decode.check(hint="The logits at hand give the first token. Each step gives the logits of one more.")
def as_many_tokens_as_wanted(rng: np.random.Generator) -> Cases:
    for num_tokens in (1, 2, int(rng.integers(4, 8))):
        yield from check_decode(a_text(rng, num_tokens), num_tokens, [], 100)


@decode.check(hint="An end token says that the answer is complete. It is neither written nor put through the model.")
def an_end_token_ends_the_answer(rng: np.random.Generator) -> Cases:
    for place in (1, 3):
        text = a_text(rng, place + 3)
        yield from check_decode(text, place + 3, [written(text, place + 1)[-1]], 100)


@decode.check(hint="With room for n more tokens, n + 1 can be written: the last one need not go into the cache.")
def a_full_cache_ends_the_answer(rng: np.random.Generator) -> Cases:
    for room in (1, 3):
        yield from check_decode(a_text(rng, 8), 8, [], 4 + room)
