"""Exercises of lesson 03: the arithmetic and the bytes of a step, and how long it takes at best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from course.exercises import Cases, call, define

if TYPE_CHECKING:
    import math

Work = dict[str, tuple[float, float]]
"""(FLOPs, bytes) of each operator of a step, by its name."""


# 1: matrix_product


@define("roofline.matrix_product", points=1)
def matrix_product(
    num_tokens: int,
    inputs: int,
    outputs: int,
    element_bytes: int = 2,
) -> tuple[int, int]:
    """FLOPs and bytes of putting `num_tokens` vectors through one matrix of weights.

    The matrix has `inputs` x `outputs` weights: each token brings `inputs` numbers and leaves
    with `outputs` numbers. FLOPs: a multiplication and an addition for each weight and each
    token. Bytes: the weights and the numbers of all tokens, in and out, each moved once.
    `element_bytes` for each number. Return (FLOPs, bytes). About 3 lines.
    """
    flops = 2 * num_tokens * inputs * outputs
    numbers = inputs * outputs + num_tokens * (inputs + outputs)
    return flops, numbers * element_bytes


def product_by_hand(num_tokens: int, inputs: int, outputs: int, element_bytes: int) -> tuple[int, int]:
    """Go through the product and count; then weigh the arrays."""
    flops = 0
    for _token in range(num_tokens):
        for _output in range(outputs):
            for _input in range(inputs):
                flops += 1  # multiply
                flops += 1  # add
    arrays = [np.zeros(size) for size in ((num_tokens, inputs), (inputs, outputs), (num_tokens, outputs))]
    return flops, sum(array.size * element_bytes for array in arrays)


@matrix_product.check(hint="For each weight a multiplication and an addition. Three things move: weights, in, and out.")
def one_token(rng: np.random.Generator) -> Cases:
    for most in (1, 3, 7):
        inputs, outputs = (int(n) for n in rng.choice(range(most + 3, most + 7), 2, replace=False))
        yield call(1, inputs, outputs).returns(product_by_hand(1, inputs, outputs, 2))


@matrix_product.check(hint="More tokens: all the arithmetic again for each of them. Which bytes are moved again?")
def several_tokens_share_the_weights(rng: np.random.Generator) -> Cases:
    for most in (2, 5):
        num_tokens, inputs, outputs = (int(n) for n in rng.integers(most, most + 3, 3))
        yield call(num_tokens, inputs, outputs).returns(product_by_hand(num_tokens, inputs, outputs, 2))


@matrix_product.check(hint="Numbers may take 1 or 4 bytes: ask `element_bytes`. FLOPs do not depend on it.")
def numbers_of_another_width(rng: np.random.Generator) -> Cases:
    for element_bytes in (1, 4):
        num_tokens, inputs, outputs = (int(n) for n in rng.integers(2, 6, 3))
        wanted = product_by_hand(num_tokens, inputs, outputs, element_bytes)
        yield call(num_tokens, inputs, outputs, element_bytes).returns(wanted)


matrix_product.mistake(
    "reads the weights for each token",
    replace=[
        ("inputs * outputs + num_tokens * (inputs + outputs)", "num_tokens * (inputs * outputs + inputs + outputs)")
    ],
    caught_by=several_tokens_share_the_weights,
    nudge="You move the weights once for every token. They are read once, and all tokens of the step use them.",
)
matrix_product.mistake(
    "does not count the additions",
    replace=[("2 * num_tokens * inputs * outputs", "num_tokens * inputs * outputs")],
    caught_by=one_token,
    nudge="Half of the FLOPs: each product is also added to a sum, and additions count.",
)
matrix_product.mistake(
    "one addition fewer",
    replace=[("2 * num_tokens * inputs * outputs", "num_tokens * outputs * (2 * inputs - 1)")],
    caught_by=one_token,
    nudge="True, a sum of n products has n - 1 additions. By custom the sum begins at 0: two FLOPs for each weight.",
)
matrix_product.mistake(
    "bytes of the weights, numbers of the tokens",
    replace=[("numbers * element_bytes", "numbers + inputs * outputs * (element_bytes - 1)")],
    caught_by=one_token,
    nudge="Every number takes `element_bytes` bytes, those of the tokens, too. Is a parenthesis missing?",
)
matrix_product.mistake(
    "moves the weights alone",
    replace=[("inputs * outputs + num_tokens * (inputs + outputs)", "inputs * outputs")],
    caught_by=one_token,
    nudge="The weights are not all that moves: the numbers of each token come in, and others go out.",
)
matrix_product.mistake(
    "forgets what goes out",
    replace=[("(inputs + outputs)", "inputs")],
    caught_by=one_token,
    nudge="The result has to be written: `outputs` numbers for each token.",
)
matrix_product.mistake(
    "forgets what comes in",
    replace=[("(inputs + outputs)", "outputs")],
    caught_by=one_token,
    nudge="Before anything is multiplied, the `inputs` numbers of each token have to be read.",
)
matrix_product.mistake(
    "the tokens' numbers once for all",
    replace=[("num_tokens * (inputs + outputs)", "inputs + outputs")],
    caught_by=several_tokens_share_the_weights,
    nudge="The weights are shared, the numbers of a token are its own: they move for each token.",
)
matrix_product.mistake(
    "arithmetic of one token",
    replace=[("2 * num_tokens * inputs * outputs", "2 * inputs * outputs")],
    caught_by=several_tokens_share_the_weights,
    nudge="The weights are shared, the arithmetic is not: each token is multiplied with all weights.",
)
matrix_product.mistake(
    "no weights",
    replace=[("inputs * outputs + num_tokens * (inputs + outputs)", "num_tokens * (inputs + outputs)")],
    caught_by=one_token,
    nudge="The largest part is missing: the weights come out of memory in every step.",
)
matrix_product.mistake(
    "counts numbers, not bytes",
    replace=[("numbers * element_bytes", "numbers")],
    caught_by=one_token,
    nudge="That is how many numbers move. Each takes `element_bytes` bytes.",
)
matrix_product.mistake(
    "always two bytes",
    replace=[("numbers * element_bytes", "numbers * 2")],
    caught_by=numbers_of_another_width,
    nudge="A number does not always take 2 bytes: ask `element_bytes`.",
)
matrix_product.mistake(
    "bytes before FLOPs",
    replace=[("return flops, numbers * element_bytes", "return numbers * element_bytes, flops")],
    caught_by=one_token,
    nudge="The right numbers in the wrong order: FLOPs first, then bytes.",
)
matrix_product.mistake(
    "returns their ratio",
    replace=[("return flops, numbers * element_bytes", "return flops / (numbers * element_bytes)")],
    caught_by=one_token,
    nudge="Both numbers are wanted, as a pair: FLOPs, bytes. What to divide by what comes later.",
)
matrix_product.mistake(
    "adds the sides of the matrix",
    replace=[("2 * num_tokens * inputs * outputs", "2 * num_tokens * (inputs + outputs)")],
    caught_by=one_token,
    nudge="Each of the `outputs` numbers is a sum over all `inputs`: the matrix has inputs * outputs weights.",
)
matrix_product.mistake(
    "the token's numbers move twice",
    replace=[("num_tokens * (inputs + outputs)", "2 * num_tokens * (inputs + outputs)")],
    caught_by=one_token,
    nudge="You move the tokens' numbers twice. Those that come in are read once, those that go out are written once.",
)
matrix_product.alternative(
    """
def matrix_product(num_tokens, inputs, outputs, element_bytes=2):
    sizes = [(num_tokens, inputs), (inputs, outputs), (num_tokens, outputs)]
    return (inputs + inputs) * outputs * num_tokens, element_bytes * sum(math.prod(size) for size in sizes)
"""
)


# 2: tokens_to_saturate


@define("roofline.tokens_to_saturate", points=2)
def tokens_to_saturate(flops_s: float, bytes_s: float, element_bytes: int = 2) -> int:
    """The smallest number of tokens at which a large matrix is limited by arithmetic.

    That is, at which computing with the weights takes at least as long as reading them, on a
    machine of `flops_s` FLOPs and `bytes_s` bytes per second. Leave out the numbers of the
    tokens: beside a large matrix they are few. About 1 to 3 lines.
    """
    return math.ceil(flops_s * element_bytes / (2 * bytes_s))


def saturating(knee: float, bytes_s: float, element_bytes: int) -> Any:
    """A call for a machine on which computing takes as long as reading at ``knee`` tokens, and the whole number wanted.

    Tried one by one, with a matrix of a million weights.
    """
    flops_s, num_tokens = 2 * knee * bytes_s / element_bytes, 1
    while num_tokens * 2e6 / flops_s < 1e6 * element_bytes / bytes_s:
        num_tokens += 1
    return call(flops_s, bytes_s, element_bytes).returns(num_tokens)


@tokens_to_saturate.check(hint="With n tokens, a weight means 2 * n FLOPs and `element_bytes` bytes. When is it even?")
def numbers_of_two_bytes(rng: np.random.Generator) -> Cases:
    yield saturating(float(rng.integers(5, 9)), 2.0**40, 2)  # exact: no rounding
    for most in (20, 150):
        yield saturating(int(rng.integers(most, 2 * most)) + float(rng.uniform(0.1, 0.4)), 2e12, 2)


@tokens_to_saturate.check(hint="Numbers of 1 byte are read in half the time of those of 2.")
def other_widths(rng: np.random.Generator) -> Cases:
    for element_bytes in (4, 1):
        yield saturating(int(rng.integers(20, 90)) + float(rng.uniform(0.6, 0.9)), 3e12, element_bytes)


tokens_to_saturate.mistake(
    "the ridge itself",
    replace=[("flops_s * element_bytes / (2 * bytes_s)", "flops_s / bytes_s")],
    caught_by=other_widths,
    nudge="That is FLOPs per byte. It equals the tokens only where a number takes 2 bytes: 2 FLOPs for 2 bytes.",
)
tokens_to_saturate.mistake(
    "one FLOP for each weight",
    replace=[("(2 * bytes_s)", "bytes_s")],
    caught_by=numbers_of_two_bytes,
    nudge="Twice too many: a weight and a token make a multiplication and an addition.",
)
tokens_to_saturate.mistake(
    "one byte for each weight",
    replace=[("flops_s * element_bytes", "flops_s")],
    caught_by=numbers_of_two_bytes,
    nudge="How long does it take to read a weight? It has `element_bytes` bytes.",
)
tokens_to_saturate.mistake(
    "width on the wrong side",
    replace=[("flops_s * element_bytes / (2 * bytes_s)", "2 * flops_s / (element_bytes * bytes_s)")],
    caught_by=other_widths,
    nudge="Wider numbers take longer to read, so more tokens are needed to keep the machine computing, not fewer.",
)
tokens_to_saturate.mistake(
    "rounded down",
    replace=[("math.ceil(", "math.floor(")],
    caught_by=numbers_of_two_bytes,
    nudge="One too few: there, reading still takes a little longer. Round up.",
)
tokens_to_saturate.mistake(
    "always one more",
    replace=[
        (
            "math.ceil(flops_s * element_bytes / (2 * bytes_s))",
            "math.floor(flops_s * element_bytes / (2 * bytes_s)) + 1",
        )
    ],
    caught_by=numbers_of_two_bytes,
    nudge="Where both take exactly as long, that number of tokens is enough: at least as long is what is asked.",
)
tokens_to_saturate.mistake(
    "not a whole number",
    replace=[("math.ceil(flops_s * element_bytes / (2 * bytes_s))", "flops_s * element_bytes / (2 * bytes_s)")],
    caught_by=numbers_of_two_bytes,
    nudge="Tokens come whole. Round up: `math.ceil`.",
)
tokens_to_saturate.mistake(
    "upside down",
    replace=[("flops_s * element_bytes / (2 * bytes_s)", "bytes_s * element_bytes / (2 * flops_s)")],
    caught_by=numbers_of_two_bytes,
    nudge="Upside down. A machine that computes faster needs more tokens to be kept busy.",
)
tokens_to_saturate.alternative(
    """
def tokens_to_saturate(flops_s, bytes_s, element_bytes=2):
    n = 1
    while 2 * n / flops_s < element_bytes / bytes_s:
        n += 1
    return n
"""
)


# 3: attention


@define("roofline.attention", points=2)
def attention(
    num_new: int,
    num_cached: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    element_bytes: int = 2,
) -> tuple[int, int]:
    """FLOPs and bytes of attention in one layer, for `num_new` tokens behind `num_cached`.

    All are of one sequence. Each new token looks at all cached ones, at the new ones before it,
    and at itself. Each look costs every query head 4 * head_dim FLOPs: query times key, weight
    times value. Bytes: keys and values of all these tokens, new and cached, each moved once.
    (We leave out softmax, queries and results: they are small. And scores need not be stored:
    lesson 04.) About 3 lines.
    """
    looks = num_new * num_cached + num_new * (num_new + 1) // 2
    flops = 4 * num_heads * head_dim * looks
    return flops, 2 * num_kv_heads * head_dim * (num_cached + num_new) * element_bytes


def attention_by_hand(
    num_new: int, num_cached: int, num_heads: int, num_kv_heads: int, head_dim: int, element_bytes: int
) -> tuple[float, int]:
    """Every head of every new token looks at every token up to itself; FLOPs as a float, so that both kinds pass."""
    text = range(num_cached + num_new)
    flops = 0.0
    for place in text[num_cached:]:
        for _seen in text[: place + 1]:
            for _head in range(num_heads):
                flops += 2 * head_dim  # query times key
                flops += 2 * head_dim  # weight times value
    kept = [np.zeros((num_kv_heads, len(text), head_dim)) for _kv in "kv"]
    return flops, sum(part.size for part in kept) * element_bytes


def looking(num_new: int, num_cached: int, heads: tuple[int, int, int], element_bytes: int = 2) -> Any:
    """The call, with what it must return."""
    return call(num_new, num_cached, *heads, element_bytes).returns(
        attention_by_hand(num_new, num_cached, *heads, element_bytes)
    )


def some_heads(rng: np.random.Generator) -> tuple[int, int, int]:
    """As many query heads as KV heads, and numbers in each."""
    num_heads, head_dim = (int(n) for n in rng.integers(2, 6, 2))
    return num_heads, num_heads, head_dim


@attention.check(hint="One new token looks at the cached ones and at itself, and reads the keys and values of all.")
def a_decode_step(rng: np.random.Generator) -> Cases:
    yield looking(1, 4, (1, 1, 2), 8)
    for most in (3, 9):
        yield looking(1, int(rng.integers(most, most + 4)), some_heads(rng))


@attention.check(hint="Nothing is cached: the first token sees 1 token, the second 2, the third 3.")
def a_prompt(rng: np.random.Generator) -> Cases:
    for num_new in (2, 3, int(rng.integers(5, 12))):
        yield looking(num_new, 0, some_heads(rng))


@attention.check(hint="Each new token sees all cached ones, and of the new ones those up to itself.")
def new_tokens_behind_cached_ones(rng: np.random.Generator) -> Cases:
    yield looking(2, 1, (1, 1, 2))
    yield looking(int(rng.integers(3, 7)), int(rng.integers(2, 6)), some_heads(rng))


@attention.check(hint="Every query head computes; heads that share keys and values read them once.")
def shared_keys_and_values(rng: np.random.Generator) -> Cases:
    for share in (2, 4):
        kv_heads = int(rng.integers(1, 3))
        yield looking(1, int(rng.integers(2, 6)), (share * kv_heads, kv_heads, 4), int(rng.choice([1, 4])))


attention.mistake(
    "reads only what is new",
    replace=[("(num_cached + num_new) * element_bytes", "num_new * element_bytes")],
    caught_by=a_decode_step,
    nudge="The cache is not free to look at: keys and values of every cached token are read, in every step.",
)
attention.mistake(
    "reads only what is cached",
    replace=[("(num_cached + num_new) * element_bytes", "num_cached * element_bytes")],
    caught_by=a_decode_step,
    nudge="The keys and values of new tokens move, too.",
)
attention.mistake(
    "reads the cache once for each new token",
    replace=[("(num_cached + num_new) * element_bytes", "looks * element_bytes")],
    caught_by=a_prompt,
    nudge="You move keys and values anew for each look. In the best case they come once, and all new tokens use them.",
)
attention.mistake(
    "everybody sees everybody",
    replace=[("num_new * num_cached + num_new * (num_new + 1) // 2", "num_new * (num_cached + num_new)")],
    caught_by=a_prompt,
    nudge="Your new tokens see those behind them. Of n new ones the first sees 1, the last n: n * (n + 1) / 2 in all.",
)
attention.mistake(
    "does not look at itself",
    replace=[("num_new * (num_new + 1) // 2", "num_new * (num_new - 1) // 2")],
    caught_by=a_decode_step,
    nudge="A token also looks at itself.",
)
attention.mistake(
    "looks only at new tokens",
    replace=[("num_new * num_cached + num_new * (num_new + 1) // 2", "num_new * (num_new + 1) // 2")],
    caught_by=a_decode_step,
    nudge="Your new tokens do not look at the cache. That is what it is kept for.",
)
attention.mistake(
    "the whole text asks again",
    replace=[
        (
            "num_new * num_cached + num_new * (num_new + 1) // 2",
            "(num_cached + num_new) * (num_cached + num_new + 1) // 2",
        )
    ],
    caught_by=a_decode_step,
    nudge="You let the cached tokens look, too. They did when they were new; now only the new ones ask.",
)
attention.mistake(
    "all new tokens stand at the end",
    replace=[("num_new * num_cached + num_new * (num_new + 1) // 2", "num_new * (num_cached + 1)")],
    caught_by=a_prompt,
    nudge="Each of your new tokens sees the cache and itself. The later ones also see the new ones before them.",
)
attention.mistake(
    "half of a square",
    replace=[("num_new * (num_new + 1) // 2", "num_new**2 / 2")],
    caught_by=a_decode_step,
    nudge="Half of the square cuts the diagonal in two, but each token looks at itself: n * (n + 1) / 2.",
)
attention.mistake(
    "twice four",
    replace=[("flops = 4 *", "flops = 8 *")],
    caught_by=a_decode_step,
    nudge="Twice too many: the 4 already counts both products, and a multiplication and an addition in each.",
)
attention.mistake(
    "all pairs of the text",
    replace=[("looks = num_new * num_cached + num_new * (num_new + 1) // 2", "looks = (num_new + num_cached) ** 2")],
    caught_by=a_decode_step,
    nudge="In yours cached tokens look again. They did so in earlier steps; only new ones have queries now.",
)
attention.mistake(
    "keys alone",
    replace=[("2 * num_kv_heads", "num_kv_heads")],
    caught_by=a_decode_step,
    nudge="Keys and values: two vectors for each token and KV head.",
)
attention.mistake(
    "keys without values in the arithmetic",
    replace=[("4 * num_heads", "2 * num_heads")],
    caught_by=a_decode_step,
    nudge="Half of the FLOPs. A decode looks at all cached tokens and at itself; each look costs a head 4 * head_dim.",
)
attention.mistake(
    "one head computes",
    replace=[("4 * num_heads * head_dim", "4 * head_dim")],
    caught_by=a_decode_step,
    nudge="4 * head_dim is what one look costs one query head. There are `num_heads` of them.",
)
attention.mistake(
    "query heads have keys of their own",
    replace=[("2 * num_kv_heads", "2 * num_heads")],
    caught_by=shared_keys_and_values,
    nudge="Heads that share keys and values read them once: bytes go with the KV heads.",
)
attention.mistake(
    "only KV heads compute",
    replace=[("4 * num_heads", "4 * num_kv_heads")],
    caught_by=shared_keys_and_values,
    nudge="Each query head looks for itself, even where keys are shared: FLOPs go with the query heads.",
)
attention.mistake(
    "counts numbers, not bytes",
    replace=[(" * element_bytes", "")],
    caught_by=a_decode_step,
    nudge="That is how many numbers move. Each takes `element_bytes` bytes.",
)
attention.mistake(
    "always two bytes",
    replace=[(" * element_bytes", " * 2")],
    caught_by=a_decode_step,
    nudge="A number does not always take 2 bytes: ask `element_bytes`.",
)
attention.alternative(
    """
def attention(num_new, num_cached, num_heads, num_kv_heads, head_dim, element_bytes=2):
    seen = [place + 1 for place in range(num_cached, num_cached + num_new)]
    keys = max(seen) * num_kv_heads * head_dim
    return sum(seen) * num_heads * head_dim * 4, (keys + keys) * element_bytes
"""
)


# 4: step


def with_a_model(learner: Any, model: dict[str, Any], sequences: list[tuple[int, int]]) -> Any:
    """The learner's function sees the model's figures as attributes."""
    from types import SimpleNamespace

    return learner(SimpleNamespace(**model), sequences)


@define("roofline.step", points=3, through=with_a_model, builds_on=(matrix_product, attention))
def step(model, sequences: list[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """FLOPs and bytes of each operator of one step, by its name.

    `sequences` are those that take part, each as (new tokens, cached tokens): a prompt of 500 is
    (500, 0), a decode behind 800 is (1, 800). `model.matrices` gives for each name the inputs and
    outputs of one layer's matrix. Further: `model.num_heads`, `model.num_kv_heads`,
    `model.head_dim`, `model.element_bytes`. `matrix_product` and `attention` are at hand.
    """
    work = {}
    # yours: about 7 lines. (FLOPs, bytes) of one layer: of each matrix, and of "attention".
    num_tokens = sum(num_new for num_new, _ in sequences)
    for name, (inputs, outputs) in model.matrices.items():
        work[name] = matrix_product(num_tokens, inputs, outputs, model.element_bytes)
    heads = (model.num_heads, model.num_kv_heads, model.head_dim)
    each = [attention(*sequence, *heads, model.element_bytes) for sequence in sequences]
    work["attention"] = (sum(flops for flops, _ in each), sum(num_bytes for _, num_bytes in each))
    # end
    for name, (flops, moved) in work.items():
        work[name] = model.num_layers * flops, model.num_layers * moved
    # Once, behind the last layer: of each sequence only the last token needs logits.
    work["logits"] = matrix_product(len(sequences), *model.logits, model.element_bytes)
    return work


def some_model(rng: np.random.Generator) -> dict[str, Any]:
    """Small figures that do not fit each other: nothing can be right by chance."""
    kv_heads, head_dim, inputs, outputs, logits = (int(n) for n in rng.choice(range(2, 12), 5, replace=False))
    return {
        "matrices": {"feed-forward up": (inputs, outputs), "feed-forward down": (outputs, inputs)},
        "num_layers": int(rng.integers(2, 5)),
        "num_heads": 2 * kv_heads,
        "num_kv_heads": kv_heads,
        "head_dim": head_dim,
        "logits": (inputs, logits),
        "element_bytes": int(rng.choice([1, 4])),
    }


def step_by_hand(model: dict[str, Any], sequences: list[tuple[int, int]]) -> dict[str, tuple[float, int]]:
    """Layer after layer, with the counts by hand."""
    width, num_tokens = model["element_bytes"], sum(num_new for num_new, _ in sequences)
    heads = (model["num_heads"], model["num_kv_heads"], model["head_dim"])
    work: dict[str, tuple[float, int]] = {}

    def add(name: str, flops: float, num_bytes: int) -> None:
        before = work.get(name, (0, 0))
        work[name] = (before[0] + flops, before[1] + num_bytes)

    for _layer in range(model["num_layers"]):
        for name, (inputs, outputs) in model["matrices"].items():
            add(name, *product_by_hand(num_tokens, inputs, outputs, width))
        for sequence in sequences:
            add("attention", *attention_by_hand(*sequence, *heads, width))
    inputs, outputs = model["logits"]
    add("logits", *product_by_hand(len(sequences), inputs, outputs, width))
    return work


def stepping(rng: np.random.Generator, sequences: Sequence[tuple[int, int]]) -> Any:
    """The call on some model, with what it must return."""
    model = some_model(rng)
    return call(model=model, sequences=list(sequences)).returns(step_by_hand(model, list(sequences)))


@step.check(hint="One prompt: all its tokens go through every matrix; one call of `attention`.")
def one_prompt(rng: np.random.Generator) -> Cases:
    for num_new in (2, int(rng.integers(3, 8))):
        yield stepping(rng, [(num_new, 0)])


@step.check(hint="One decode: one token goes through the matrices; attention also reads what is cached.")
def one_decode(rng: np.random.Generator) -> Cases:
    yield stepping(rng, [(1, int(rng.integers(2, 9)))])


@step.check(hint="Several decodes: which of their reads are shared, and which has each for itself?")
def a_batch_of_decodes(rng: np.random.Generator) -> Cases:
    yield stepping(rng, [(1, 2), (1, 5)])
    yield stepping(rng, [(1, int(n)) for n in rng.integers(1, 9, 4)])


@step.check(hint="A prompt beside decodes: the matrices take all new tokens at once, attention takes each sequence.")
def prompts_and_decodes_together(rng: np.random.Generator) -> Cases:
    yield stepping(rng, [(3, 0), (1, 4), (2, 5)])


ONCE = 'work["attention"] = (sum(flops for flops, _ in each), sum(num_bytes for _, num_bytes in each))'

step.mistake(
    "every sequence reads the weights",
    replace=[
        (
            "        work[name] = matrix_product(num_tokens, inputs, outputs, model.element_bytes)",
            "        parts = [matrix_product(new, inputs, outputs, model.element_bytes) for new, _ in sequences]\n"
            "        work[name] = (sum(p[0] for p in parts), sum(p[1] for p in parts))",
        )
    ],
    caught_by=a_batch_of_decodes,
    nudge="Each of your sequences reads the weights. All new tokens go through a matrix together, in one product.",
)
step.mistake(
    "attention of a batch is free",
    replace=[(ONCE, 'work["attention"] = each[0]')],
    caught_by=a_batch_of_decodes,
    nudge="You count the attention of one sequence only. Weights are shared, caches are not: each reads its own.",
)
step.mistake(
    "each sequence overwrites the one before",
    text="""
def step(model, sequences):
    work = {}
    for num_new, num_cached in sequences:
        for name, (inputs, outputs) in model.matrices.items():
            work[name] = matrix_product(num_new, inputs, outputs, model.element_bytes)
        heads = (model.num_heads, model.num_kv_heads, model.head_dim)
        work["attention"] = attention(num_new, num_cached, *heads, model.element_bytes)
    work = {name: (model.num_layers * flops, model.num_layers * moved) for name, (flops, moved) in work.items()}
    work["logits"] = matrix_product(len(sequences), *model.logits, model.element_bytes)
    return work
""",
    caught_by=a_batch_of_decodes,
    nudge="In your loop each sequence overwrites the one before, and only the last is left. What must be added up?",
)
step.mistake(
    "query heads and KV heads exchanged",
    replace=[("heads = (model.num_heads, model.num_kv_heads,", "heads = (model.num_kv_heads, model.num_heads,")],
    caught_by=one_prompt,
    nudge="`attention(num_new, num_cached, num_heads, num_kv_heads, head_dim, element_bytes)`: query heads come first.",
)
step.mistake(
    "one cache for all, as if it were weights",
    replace=[(ONCE, 'work["attention"] = (sum(flops for flops, _ in each), max(num_bytes for _, num_bytes in each))')],
    caught_by=a_batch_of_decodes,
    nudge="You read one cache for the whole batch. Each sequence has keys and values of its own, and all are read.",
)
step.mistake(
    "one long sequence",
    replace=[
        (ONCE, 'work["attention"] = attention(num_tokens, sum(c for _, c in sequences), *heads, model.element_bytes)')
    ],
    caught_by=a_batch_of_decodes,
    nudge="You made one text of them all, so every token looks at the texts of others. Call `attention` per sequence.",
)
step.mistake(
    "one token for each sequence",
    replace=[("num_tokens = sum(num_new for num_new, _ in sequences)", "num_tokens = len(sequences)")],
    caught_by=one_prompt,
    nudge="You put one token of each sequence through the matrices. A prompt brings all of its tokens.",
)
step.mistake(
    "cached tokens go through the weights again",
    replace=[("sum(num_new for num_new, _ in sequences)", "sum(new + cached for new, cached in sequences)")],
    caught_by=one_decode,
    nudge="Cached tokens have been through the weights already. Only new ones go now.",
)
step.mistake(
    "only cached tokens go through the weights",
    replace=[("sum(num_new for num_new, _ in sequences)", "sum(cached for _, cached in sequences)")],
    caught_by=one_prompt,
    nudge="The first number of a sequence is its new tokens, the second its cached ones. Which go through the weights?",
)
step.mistake(
    "new and cached exchanged",
    replace=[("attention(*sequence, *heads", "attention(*sequence[::-1], *heads")],
    caught_by=one_prompt,
    nudge="`attention(num_new, num_cached, ...)`: new tokens first, as in `sequences`.",
)
step.mistake(
    "one matrix for all names",
    replace=[
        (
            "        work[name] = matrix_product(num_tokens, inputs, outputs, model.element_bytes)\n",
            "        work['matrices'] = matrix_product(num_tokens, inputs, outputs, model.element_bytes)\n",
        )
    ],
    caught_by=one_prompt,
    nudge="Each matrix has an entry of its own, under its name in `model.matrices`.",
)
step.mistake(
    "the default width in the matrices",
    replace=[
        (
            "matrix_product(num_tokens, inputs, outputs, model.element_bytes)",
            "matrix_product(num_tokens, inputs, outputs)",
        )
    ],
    caught_by=one_prompt,
    nudge="The matrices are counted with 2 bytes for each number. This model has `model.element_bytes`: hand it on.",
)
step.mistake(
    "the default width in attention",
    replace=[("attention(*sequence, *heads, model.element_bytes)", "attention(*sequence, *heads)")],
    caught_by=one_prompt,
    nudge="Attention is counted with 2 bytes for each number. This model has `model.element_bytes`: hand it on.",
)
step.mistake(
    "new ones counted as cached, too",
    replace=[
        ("attention(*sequence, *heads, model.element_bytes)", "attention(new, new + old, *heads, model.element_bytes)"),
        ("for sequence in sequences]", "for new, old in sequences]"),
    ],
    caught_by=one_prompt,
    nudge="`attention` wants those before the new ones. Its `num_cached` does not include them.",
)
step.mistake(
    "attention of the last one",
    replace=[(ONCE, 'work["attention"] = each[-1]')],
    caught_by=a_batch_of_decodes,
    nudge="Only the attention of the last sequence is left. Add up all of them.",
)
step.mistake(
    "layers counted twice, attention too",
    replace=[
        (
            "matrix_product(num_tokens, inputs, outputs, model.element_bytes)",
            "tuple(model.num_layers * n for n in matrix_product(num_tokens, inputs, outputs, model.element_bytes))",
        ),
        (ONCE, ONCE + '\n    work["attention"] = tuple(model.num_layers * n for n in work["attention"])'),
    ],
    caught_by=one_prompt,
    nudge="You multiply by the layers, and so does the line below yours. Yours is the work of one layer.",
)
step.mistake(
    "layers counted twice",
    replace=[
        ("matrix_product(num_tokens, inputs,", "matrix_product(num_tokens, model.num_layers * inputs,"),
        ("attention(*sequence, *heads", "attention(*sequence, model.num_layers * model.num_heads, *heads[1:]"),
    ],
    caught_by=one_prompt,
    nudge="You multiply by the layers, and the line below your part does it again. Fill in one layer.",
)
step.mistake(
    "no attention",
    replace=[(ONCE, "pass")],
    caught_by=one_prompt,
    nudge='The entry "attention" is missing: the sum over all sequences.',
)
step.mistake(
    "the default width",
    replace=[
        ("inputs, outputs, model.element_bytes)", "inputs, outputs)"),
        ("*heads, model.element_bytes)", "*heads)"),
    ],
    caught_by=one_prompt,
    nudge="Not every model has numbers of 2 bytes: hand `model.element_bytes` on.",
)
step.mistake(
    "goes through the names",
    replace=[("in model.matrices.items()", "in model.matrices")],
    caught_by=one_prompt,
    nudge="A loop over a dict gives its names. `model.matrices.items()` gives each name with its inputs and outputs.",
)
step.mistake(
    "pairs in a list",
    replace=[(ONCE, 'work["attention"] = sum(each, ())')],
    caught_by=a_batch_of_decodes,
    nudge="Adding tuples joins them. Add the FLOPs of all sequences, and separately their bytes.",
)
step.alternative(
    """
def step(model, sequences):
    new = sum(sequence[0] for sequence in sequences)
    work = {name: np.array(matrix_product(new, a, b, model.element_bytes)) for name, (a, b) in model.matrices.items()}
    work["attention"] = np.zeros(2, dtype=int)
    for sequence in sequences:
        work["attention"] += attention(
            *sequence, model.num_heads, model.num_kv_heads, model.head_dim, element_bytes=model.element_bytes
        )
    work = {name: tuple(int(number) * model.num_layers for number in pair) for name, pair in work.items()}
    work["logits"] = matrix_product(len(sequences), *model.logits, model.element_bytes)
    return work
"""
)


# 5: step_time


@define("roofline.step_time", points=2)
def step_time(work: dict[str, tuple[float, float]], flops_s: float, bytes_s: float) -> float:
    """Seconds that a step takes at best.

    `work` is what `step` returns: (FLOPs, bytes) of each operator, by name. The machine computes
    `flops_s` FLOPs and moves `bytes_s` bytes in a second. Operators run one after another. Within
    an operator, computing and moving go on at the same time. About 1 to 4 lines.
    """
    return sum(max(flops / flops_s, num_bytes / bytes_s) for flops, num_bytes in work.values())


def some_rates(rng: np.random.Generator) -> tuple[float, float]:
    """FLOPs/s and bytes/s, far apart."""
    return float(rng.integers(50, 400)) * 1e12, float(rng.integers(3, 30)) * 1e11


def taking(operators: Sequence[tuple[float, float]], flops_s: float, bytes_s: float) -> Any:
    """A call for operators that take (seconds of computing, seconds of moving), with the seconds they must take."""
    work = {f"operator {i}": (round(c * flops_s), round(m * bytes_s)) for i, (c, m) in enumerate(operators)}
    clock = 0.0
    for computing_s, moving_s in operators:
        clock += moving_s if computing_s < moving_s else computing_s
    return call(work, flops_s, bytes_s).returns(clock, rtol=1e-4)


@step_time.check(hint="One operator: it is done when all is computed and all is moved.")
def one_operator(rng: np.random.Generator) -> Cases:
    short, long = rng.uniform(0.001, 0.003), rng.uniform(0.004, 0.009)
    yield taking([(short, long)], *some_rates(rng))
    yield taking([(long, short)], *some_rates(rng))


@step_time.check(hint="Operators run one after another, each with its own max.")
def operator_after_operator(rng: np.random.Generator) -> Cases:
    yield taking([(0.004, 0.001), (0.001, 0.002)], *some_rates(rng))
    for count in (3, 6):
        yield taking([tuple(pair) for pair in rng.uniform(0.001, 0.009, (count, 2)).tolist()], *some_rates(rng))


step_time.mistake(
    "first moves, then computes",
    replace=[("max(flops / flops_s, num_bytes / bytes_s)", "flops / flops_s + num_bytes / bytes_s")],
    caught_by=one_operator,
    nudge="You add the two. They go on at the same time, so the shorter one is hidden behind the longer.",
)
step_time.mistake(
    "only arithmetic",
    replace=[("max(flops / flops_s, num_bytes / bytes_s)", "flops / flops_s")],
    caught_by=one_operator,
    nudge="Here moving takes longer than computing, and yours is done before all is moved. The slower one decides.",
)
step_time.mistake(
    "only memory",
    replace=[("max(flops / flops_s, num_bytes / bytes_s)", "num_bytes / bytes_s")],
    caught_by=one_operator,
    nudge="Here computing takes longer than moving, and yours is done before all is computed. The slower one decides.",
)
step_time.mistake(
    "one max for the whole step",
    replace=[
        (
            "sum(max(flops / flops_s, num_bytes / bytes_s) for flops, num_bytes in work.values())",
            "max(sum(w[0] for w in work.values()) / flops_s, sum(w[1] for w in work.values()) / bytes_s)",
        )
    ],
    caught_by=operator_after_operator,
    nudge="One max for the whole step: an operator would read while an earlier one computes. Take each one's max.",
)
step_time.mistake(
    "the longest operator",
    replace=[("sum(max(", "max(max(")],
    caught_by=operator_after_operator,
    nudge="That is the longest operator. They run one after another, so the times add up.",
)
step_time.mistake(
    "the last operator",
    text="""
def step_time(work, flops_s, bytes_s):
    for flops, num_bytes in work.values():
        seconds = max(flops / flops_s, num_bytes / bytes_s)
    return seconds
""",
    caught_by=operator_after_operator,
    nudge="Only the last operator is left of your loop. They run one after another, so the times add up.",
)
step_time.mistake(
    "rates upside down",
    replace=[("flops / flops_s, num_bytes / bytes_s", "flops_s / flops, bytes_s / num_bytes")],
    caught_by=one_operator,
    nudge="Upside down: FLOPs divided by FLOPs per second gives seconds.",
)
step_time.mistake(
    "each at the other's rate",
    replace=[("flops / flops_s, num_bytes / bytes_s", "flops / bytes_s, num_bytes / flops_s")],
    caught_by=one_operator,
    nudge="FLOPs go with `flops_s`, bytes with `bytes_s`.",
)
step_time.mistake(
    "work times rate",
    replace=[("flops / flops_s, num_bytes / bytes_s", "flops * flops_s, num_bytes * bytes_s")],
    caught_by=one_operator,
    nudge="Work times rate is no time. FLOPs divided by FLOPs per second are seconds.",
)
step_time.mistake(
    "in milliseconds",
    replace=[("return sum(", "return 1000 * sum(")],
    caught_by=one_operator,
    nudge="A thousand times too much: seconds are wanted.",
)
step_time.mistake(
    "goes through the names",
    replace=[("work.values()", "work")],
    caught_by=one_operator,
    nudge="A loop over a dict gives its names. `work.values()` gives the pairs.",
)
step_time.alternative(
    """
def step_time(work, flops_s, bytes_s):
    seconds = 0.0
    for name in work:
        flops, moved = work[name]
        ridge = flops_s / bytes_s
        seconds += flops / flops_s if flops > ridge * moved else moved / bytes_s
    return seconds
"""
)
