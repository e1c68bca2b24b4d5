"""Exercises of lesson 04: softmax in pieces, attention tile by tile, what both ways move, and pieces merged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from course.exercises import TORCH, Cases, call, define

if TYPE_CHECKING:  # cells are granted it; listing exercises should not import it
    import torch
    from torch import Tensor

MINUS_INF = -math.inf


def as_tensor(numbers: Any) -> Any:
    """A torch tensor of single precision."""
    import torch

    return torch.tensor(np.asarray(numbers), dtype=torch.float32)


# 1: update


@define("flash_attention.update", points=2, grants=TORCH)
def update(largest: Tensor, total: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Take in the next piece of each row of scores.

    So far, `largest` [rows] is the largest score of each row and `total` [rows] the sum of
    exp(score - largest) over its scores; before the first piece they are -inf and 0. `scores`
    [rows, columns] is the next piece. Return both as they are afterwards. Where scores come in
    16 bits, `largest` and `total` stay in 32. About 3 lines.
    """
    new_largest = torch.maximum(largest, scores.amax(dim=1))
    total = total * (largest - new_largest).exp() + (scores - new_largest[:, None]).exp().sum(dim=1)
    return new_largest, total


def summary_of(rows: list[list[float]]) -> Any:
    """Largest and sum of each row, with all its scores at hand."""
    largest = [max(row, default=MINUS_INF) for row in rows]
    total = [sum(math.exp(score - top) for score in row) for row, top in zip(rows, largest, strict=True)]
    return as_tensor(largest), as_tensor(total)


def piece_after(seen: np.ndarray, piece: np.ndarray) -> Any:
    """A call with what was seen of each row and the next piece, and what must come."""
    before, after = summary_of(seen.tolist()), summary_of(np.concatenate([seen, piece], axis=1).tolist())
    return call(*before, as_tensor(piece)).returns(after)


def some_scores(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Scores with one digit behind the point, easy to compute by hand."""
    return rng.uniform(-2, 2, (rows, columns)).round(1)


@update.check(hint="Before the first piece nothing was seen. What are the largest score and the sum of each row now?")
def the_first_piece(rng: np.random.Generator) -> Cases:
    for rows, columns in ((1, 2), (2, 3), (4, 2)):
        yield piece_after(np.zeros((rows, 0)), some_scores(rng, rows, columns))


@update.check(hint="The old sum was made with the old largest score. What is it worth, measured with the new one?")
def a_larger_score_comes(rng: np.random.Generator) -> Cases:
    for rows, seen, columns in ((1, 1, 2), (2, 2, 3)):
        yield piece_after(some_scores(rng, rows, seen), some_scores(rng, rows, columns) + 3)


@update.check(hint="What if the new scores are all smaller than the largest so far?")
def smaller_scores_come(rng: np.random.Generator) -> Cases:
    for rows, seen, columns in ((1, 1, 2), (2, 2, 3), (3, 4, 1)):
        yield piece_after(some_scores(rng, rows, seen) + 5, some_scores(rng, rows, columns))


@update.check(hint="Each row has a largest score of its own. What if it changes in one row only?")
def some_rows_get_a_larger_score(rng: np.random.Generator) -> Cases:
    for rows in (2, 3):
        piece = some_scores(rng, rows, 2)
        piece[0] += 5
        yield piece_after(some_scores(rng, rows, 2) + 2.5, piece)


@update.check(hint="exp of some hundreds is infinite. Only exp of a score minus the largest is safe.")
def large_scores(rng: np.random.Generator) -> Cases:
    for shift in (300, -300):
        yield piece_after(some_scores(rng, 2, 2) + shift, some_scores(rng, 2, 3) + shift)


@update.check(hint="A score of -inf is hidden and adds exp(-inf) = 0. But -inf - (-inf) is nan.")
def hidden_scores(rng: np.random.Generator) -> Cases:
    for columns in (1, 2):
        piece = some_scores(rng, 2, columns)
        piece[0] = MINUS_INF  # nothing of this piece may be seen by the first row
        yield piece_after(some_scores(rng, 2, 2), piece)


@update.check(hint="`largest` and `total` come in 32 bits, even where scores have 16. They must stay so.")
def scores_of_16_bits(rng: np.random.Generator) -> Cases:
    import torch

    total = as_tensor([300.0 + int(rng.integers(1, 40)), 600.0])
    scores = torch.zeros(2, 3, dtype=torch.bfloat16)
    yield call(torch.zeros(2), total, scores).returns((torch.zeros(2), total + 3), rtol=1e-6)


NO_FACTOR = (
    "Your factor for the old sum is infinite before the first piece, and infinity times 0 is nan. A term exp(score - "
    "old) becomes exp(score - new) by the factor exp(old - new): at first that is exp(-inf), which is 0."
)
ROW_BY_ROW = (
    "Python's `max` and `if` ask which of two tensors is larger as a whole, and each row has an answer of its own. "
    "`torch.maximum` compares number by number."
)
update.mistake(
    "does not rescale the old sum",
    replace=[("total * (largest - new_largest).exp() + ", "total + ")],
    caught_by=a_larger_score_comes,
    nudge="The old sum is added as it is. It was measured from the old largest score; with a larger one, every old "
    "term shrinks by exp(old largest - new largest).",
)
update.mistake(
    "rescales the wrong way round",
    replace=[("(largest - new_largest).exp()", "(new_largest - largest).exp()")],
    caught_by=the_first_piece,
    nudge=NO_FACTOR,
)
update.mistake(
    "keeps the old largest",
    text="""
def update(largest, total, scores):
    return largest, total + (scores - largest[:, None]).exp().sum(dim=1)
""",
    caught_by=the_first_piece,
    nudge="The largest score never changes here, and at first it is -inf. It has to follow the scores.",
)
update.mistake(
    "the new terms from the old largest",
    replace=[("(scores - new_largest[:, None])", "(scores - largest[:, None])")],
    caught_by=the_first_piece,
    nudge="New terms are measured from the new largest score, too. From the old one, which is -inf at first, they are "
    "infinite.",
)
update.mistake(
    "the largest of the piece alone",
    replace=[("torch.maximum(largest, scores.amax(dim=1))", "scores.amax(dim=1)")],
    caught_by=smaller_scores_come,
    nudge="That is the largest score of the piece. If all of them are smaller than what was seen before, it must stay.",
)
update.mistake(
    "max after exp",
    replace=[("torch.maximum(largest, scores.amax(dim=1))", "torch.maximum(largest, scores.exp().amax(dim=1))")],
    caught_by=the_first_piece,
    nudge="The maximum is taken after exp. It is subtracted from scores, so it must be one: max first, then exp.",
)
update.mistake(
    "exp without subtracting",
    text="""
def update(largest, total, scores):
    return torch.maximum(largest, scores.amax(dim=1)), total + scores.exp().sum(dim=1)
""",
    caught_by=the_first_piece,
    nudge="You sum exp(score). The sum is of exp(score - largest), so that no term is ever above 1.",
)
update.mistake(
    "sums with exp(score), divides later",
    text="""
def update(largest, total, scores):
    new = torch.maximum(largest, scores.amax(dim=1))
    plain = torch.where(total > 0, total * largest.exp(), total) + scores.exp().sum(dim=1)
    return new, plain / new.exp()
""",
    caught_by=large_scores,
    nudge="Somewhere exp is taken of a score itself. Of 300 that is infinite, of -300 it is 0. Subtract before exp.",
)
update.mistake(
    "rescales the new terms as well",
    replace=[
        (
            "total * (largest - new_largest).exp() + (scores - new_largest[:, None]).exp().sum(dim=1)",
            "(total + (scores - new_largest[:, None]).exp().sum(dim=1)) * (largest - new_largest).exp()",
        )
    ],
    caught_by=the_first_piece,
    nudge="Only the old sum is measured from the old largest score. The new terms are right already: do not rescale "
    "them.",
)
update.mistake(
    "drops the old sum",
    replace=[("total * (largest - new_largest).exp() + ", "")],
    caught_by=a_larger_score_comes,
    nudge="The sum of the earlier pieces is gone. It is rescaled, and the new terms are added to it.",
)
update.mistake(
    "along the wrong axis",
    replace=[("scores.amax(dim=1)", "scores.amax(dim=0)"), ("exp().sum(dim=1)", "exp().sum(dim=0)")],
    caught_by=the_first_piece,
    nudge="`dim=0` runs down the columns. Each row has its own largest score: along the last axis, `dim=1`.",
)
update.mistake(
    "one largest for all rows",
    replace=[("scores.amax(dim=1)", "scores.max()")],
    caught_by=the_first_piece,
    nudge="`scores.max()` is one number for all rows. Each row has its own: `scores.amax(dim=1)`.",
)
update.mistake(
    "max gives a pair",
    replace=[("scores.amax(dim=1)", "scores.max(dim=1)")],
    caught_by=the_first_piece,
    nudge="`max(dim=1)` gives a pair: the values and where they stand. `amax(dim=1)` gives the values alone.",
)
update.mistake(
    "max of two tensors by Python",
    replace=[("torch.maximum(largest, scores.amax(dim=1))", "max(largest, scores.amax(dim=1))")],
    caught_by=the_first_piece,
    nudge=ROW_BY_ROW,
)
update.mistake(
    "a row where a column belongs",
    replace=[("new_largest[:, None]", "new_largest")],
    caught_by=the_first_piece,
    nudge="[rows, columns] - [rows] lines up the last axes, which are columns. `new_largest[:, None]` is a column of "
    "shape [rows, 1], one number for each row.",
)
update.mistake(
    "swaps the two",
    replace=[("return new_largest, total", "return total, new_largest")],
    caught_by=the_first_piece,
    nudge="Both are right and stand in the wrong order: first the largest score, then the sum.",
)
update.mistake(
    "softmax of the piece",
    replace=[("(scores - new_largest[:, None]).exp().sum(dim=1)", "scores.softmax(dim=1).sum(dim=1)")],
    caught_by=the_first_piece,
    nudge="A softmax is divided by its sum already, so your terms always sum to 1. Here the sum itself is wanted.",
)
update.mistake(
    "divides by the old largest",
    replace=[("(largest - new_largest).exp()", "(largest / new_largest)")],
    caught_by=the_first_piece,
    nudge=NO_FACTOR,
)
update.mistake(
    "forgets exp in the factor",
    replace=[("(largest - new_largest).exp()", "(largest - new_largest)")],
    caught_by=the_first_piece,
    nudge=NO_FACTOR,
)
update.mistake(
    "sums the piece by its own largest",
    text="""
def update(largest, total, scores):
    top = scores.amax(dim=1)
    new = torch.maximum(largest, top)
    piece = (scores - top[:, None]).exp().sum(dim=1)
    return new, total * (largest - new).exp() + piece * (top - new).exp()
""",
    caught_by=hidden_scores,
    nudge="Where a piece is hidden as a whole, its own largest is -inf, and -inf - (-inf) is nan. Measure from the "
    "largest of all, which is a number.",
)
update.mistake(
    "what was seen as one more score",
    text="""
def update(largest, total, scores):
    seen = torch.cat([largest[:, None], scores], dim=1)
    new = seen.amax(dim=1)
    return new, (seen - new[:, None]).exp().sum(dim=1)
""",
    caught_by=a_larger_score_comes,
    nudge="All that was seen counts as a single score in your sum, the largest. There were more: `total` says how "
    "much they weigh together.",
)
update.mistake(
    "keeps the column",
    text="""
def update(largest, total, scores):
    new = torch.maximum(largest[:, None], scores.amax(dim=1, keepdim=True))
    return new, total[:, None] * (largest[:, None] - new).exp() + (scores - new).exp().sum(dim=1, keepdim=True)
""",
    caught_by=the_first_piece,
    nudge="Your results are columns, [rows, 1]. One number for each row is wanted: [rows]. `keepdim=True` keeps the "
    "axis.",
)
update.mistake(
    "in the dtype of the scores",
    replace=[("    return new_largest, total", "    return new_largest, total.to(scores.dtype)")],
    caught_by=scores_of_16_bits,
    nudge="The sum was made narrow, like the scores. In 16 bits, 300 + 1 is 300: a long row would stop counting. Is "
    "something of yours computed from the scores alone? Take `scores.float()` there.",
)
update.mistake(
    "the mean of the new terms",
    replace=[("(scores - new_largest[:, None]).exp().sum(dim=1)", "(scores - new_largest[:, None]).exp().mean(dim=1)")],
    caught_by=the_first_piece,
    nudge="That is the mean of the new terms. A softmax divides by their sum.",
)
update.mistake(
    "one sum for all rows",
    replace=[("exp().sum(dim=1)", "exp().sum()")],
    caught_by=the_first_piece,
    nudge="`sum()` is one number for all rows. Each row has its own: `sum(dim=1)`.",
)
update.mistake(
    "sums the scores themselves",
    replace=[("(scores - new_largest[:, None]).exp().sum(dim=1)", "scores.sum(dim=1)")],
    caught_by=the_first_piece,
    nudge="You add up the scores. The terms of a softmax are exp(score - largest).",
)
update.mistake(
    "sums the differences",
    replace=[("(scores - new_largest[:, None]).exp().sum(dim=1)", "(scores - new_largest[:, None]).sum(dim=1)")],
    caught_by=the_first_piece,
    nudge="The differences are right. Each term of the sum is exp of one.",
)
update.mistake(
    "the new terms from the largest of the piece",
    replace=[("(scores - new_largest[:, None])", "(scores - scores.amax(dim=1)[:, None])")],
    caught_by=smaller_scores_come,
    nudge="The new terms are measured from the largest score of their own piece, and the old sum from another. What is "
    "added must be measured alike: from the new largest score of all.",
)
update.mistake(
    "rescales all rows or none",
    text="""
def update(largest, total, scores):
    new = torch.maximum(largest, scores.amax(dim=1))
    if (new > largest).all():
        total = total * (largest - new).exp()
    return new, total + (scores - new[:, None]).exp().sum(dim=1)
""",
    caught_by=some_rows_get_a_larger_score,
    nudge="Your `if` asks about all rows at once. Each row has its own factor; where the largest score stays it is "
    "exp(0) = 1, so no `if` is needed.",
)
update.mistake(
    "asks a tensor whether it is true",
    replace=[
        ("    total = total * ", "    if largest > new_largest:\n        new_largest = largest\n    total = total * ")
    ],
    caught_by=the_first_piece,
    nudge=ROW_BY_ROW,
)
update.mistake(
    "the sum alone",
    replace=[("return new_largest, total", "return total")],
    caught_by=the_first_piece,
    nudge="The next piece needs both: return the largest score of each row, and the sum.",
)
update.mistake(
    "returns nothing",
    replace=[("    return new_largest, total\n", "")],
    caught_by=the_first_piece,
    nudge="Nothing comes back: is a `return` missing? Both are wanted, the largest score and the sum.",
)
update.alternative(
    """
def update(largest, total, scores):
    seen = torch.cat([largest[:, None], scores.float()], dim=1)
    new = seen.max(dim=1).values
    terms = torch.exp(seen - new[:, None])
    return new, total * terms[:, 0] + terms[:, 1:].sum(dim=1)
"""
)
update.alternative(
    """
def update(largest, total, scores):
    whole = torch.logaddexp(largest + total.log(), scores.float().logsumexp(dim=1))
    new = torch.maximum(largest, scores.amax(dim=1))
    return new, (whole - new).exp()
"""
)


# 2: tiled_attention


def with_a_watch(learner: Any, queries: Any, keys: Any, values: Any, tile: int, _ask: str = "the answer") -> Any:
    """The learner's answer; or how many rows one operation looked at; or how many rows of keys were read in all."""
    from course.model.attention.watch import AttentionWatch

    if _ask == "the answer":
        return learner(queries, keys, values, tile)
    with AttentionWatch(queries, keys) as watch:
        learner(queries, keys, values, tile)
    if _ask == "rows at once":
        return max(watch.most_at_once.values())
    return sum(read.keys[1] - read.keys[0] for read in watch.reads)


WATCHED = (*TORCH, "import course.model.attention.watch")


@define(
    "flash_attention.tiled_attention", points=3, grants=WATCHED, through=with_a_watch, builds_on=(update,), seconds=4
)
def tiled_attention(queries: Tensor, keys: Tensor, values: Tensor, tile: int) -> Tensor:
    """Causal attention of one head, by tiles: `tile` queries and `tile` keys at a time.

    `queries` and `keys` are [tokens, head_dim], `values` [tokens, width]. Return [tokens, width].
    The last tile may have fewer. Tiles of keys that come after all queries at hand are not read.
    """
    outputs = []
    for top in range(0, len(queries), tile):
        mine = queries[top : top + tile]  # these stay; their tokens are top, top + 1, ...
        largest, total = torch.full((len(mine),), -math.inf), torch.zeros(len(mine))
        output = torch.zeros(len(mine), values.shape[1])  # sum of exp(score - largest) * value
        # For each tile of keys, from `left` on: scores, hide the future, `update`, `output`.
        # yours: about 9 lines
        for left in range(0, top + len(mine), tile):
            scores = mine @ keys[left : left + tile].T / math.sqrt(queries.shape[1])
            positions = torch.arange(left, left + scores.shape[1])
            future = positions > torch.arange(top, top + len(mine))[:, None]
            scores = scores.masked_fill(future, -math.inf)
            before = largest
            largest, total = update(largest, total, scores)
            weights = (scores - largest[:, None]).exp()
            output = output * (before - largest).exp()[:, None] + weights @ values[left : left + tile]
        # end
        outputs.append(output / total[:, None])
    return torch.cat(outputs)


def plain_attention(queries: Any, keys: Any, values: Any) -> Any:
    """Row by row, with all scores of a row at hand."""
    answer = np.zeros(values.shape)
    for i, query in enumerate(queries.double().numpy()):
        powers = [math.exp(float(query @ key) / math.sqrt(len(query))) for key in keys[: i + 1].double().numpy()]
        for j, power in enumerate(powers):
            answer[i] += power / sum(powers) * values[j].numpy()
    return as_tensor(answer)


def heads(rng: np.random.Generator, tokens: int, head_dim: int, width: int = 0) -> list[Any]:
    """Queries and keys whose scores grow from tile to tile, and values: of width 0, the identity."""
    rising = np.linspace(0.2, 2.0, tokens)[:, None]
    queries = rng.uniform(0.5, 1.5, (tokens, head_dim)).round(1)
    keys = (rng.uniform(0.5, 1.5, (tokens, head_dim)) * rising).round(1)
    values = rng.standard_normal((tokens, width)).round(1) if width else np.eye(tokens)
    return [as_tensor(part) for part in (queries, keys, values)]


def draw_weights(expected: Any, got: Any) -> str | None:
    """Weights of each query over the keys, expected and given, in tiles of two; wrong ones have a red frame."""
    from course.curriculum.lesson_04_flash_attention.drawing import two_grids

    shape = getattr(got, "shape", None)
    if expected is None or shape != expected.shape or expected.ndim != 2 or expected.shape[0] != expected.shape[1]:
        return None
    return two_grids(expected.tolist(), got.tolist(), tile=2)


@tiled_attention.check(
    hint="All tokens fit into one tile here: this is attention as in lesson 01.", picture=draw_weights
)
def one_tile(rng: np.random.Generator) -> Cases:
    for tokens in (1, 2, 3):
        parts = heads(rng, tokens, 4)
        yield call(*parts, 4).returns(plain_attention(*parts))


@tiled_attention.check(
    hint="Row by row: what has `output` seen before this tile, and from which largest score was it measured?",
    picture=draw_weights,
)
def several_tiles(rng: np.random.Generator) -> Cases:
    for tokens in (4, 6):
        parts = heads(rng, tokens, 4)
        yield call(*parts, 2).returns(plain_attention(*parts))


@tiled_attention.check(hint="The last tile has fewer tokens than the others. Do all come out?", picture=draw_weights)
def the_last_tile_is_shorter(rng: np.random.Generator) -> Cases:
    for tokens in (3, 5, 7):
        parts = heads(rng, tokens, 4)
        yield call(*parts, 2).returns(plain_attention(*parts))


@tiled_attention.check(hint="Values need not be as wide as keys, and a tile may be a single token.")
def any_width_any_tile(rng: np.random.Generator) -> Cases:
    for tokens, width, tile in ((3, 2, 1), (10, 5, 4), (9, 3, 3)):
        parts = heads(rng, tokens, 4, width)
        yield call(*parts, tile).returns(plain_attention(*parts))


@tiled_attention.check(hint="One operation of yours takes more rows than a tile has: that is the big matrix again.")
def no_more_than_a_tile_at_once(rng: np.random.Generator) -> Cases:
    tile = int(rng.integers(2, 5))
    parts = heads(rng, 4 * tile, 4, 3)
    yield call(*parts, tile, "rows at once").satisfies(
        lambda got: got <= tile,
        f"The numbers are right. But with tiles of {tile}, one operation may look at {tile} queries or keys, and one "
        "of yours looks at more.",
    )


@tiled_attention.check(
    hint="Each tile of keys is read once for each tile of queries, and none that all of them may not see."
)
def the_future_is_not_read(rng: np.random.Generator) -> Cases:
    for tokens, tile in ((4, 2), (7, 3)):
        tops = range(0, tokens, tile)
        rows = sum(len(range(tokens)[left : left + tile]) for top in tops for left in tops if left <= top)
        parts = heads(rng, tokens, 4, 3)

        def reads_each_once(got: Any, rows: int = rows) -> bool:
            return bool(got == rows)

        yield call(*parts, tile, "rows of keys read").satisfies(
            reads_each_once,
            f"The numbers are right. But with {tokens} tokens in tiles of {tile}, {rows} rows of keys must be read, "
            "each time counted. Yours reads more or fewer.",
        )


NOTHING_SEEN = (
    "The first token comes out as nan: -inf - (-inf), or 0 / 0. It must see itself, so neither hide it nor skip the "
    "tile on the diagonal. Or is your factor upside down? It is exp(old largest - new largest), 0 at first and at "
    "most 1."
)
tiled_attention.mistake(
    "forgets the scale",
    replace=[(" / math.sqrt(queries.shape[1])", "")],
    caught_by=one_tile,
    nudge="The weights are too sharp: scores are divided by the square root of head_dim, here as in lesson 01.",
)
tiled_attention.mistake(
    "scales by head_dim",
    replace=[("math.sqrt(queries.shape[1])", "queries.shape[1]")],
    caught_by=one_tile,
    nudge="The scores are divided by head_dim itself. Divide by its square root.",
)
tiled_attention.mistake(
    "scales by the tile",
    replace=[("math.sqrt(queries.shape[1])", "math.sqrt(tile)")],
    caught_by=several_tiles,
    nudge="The scale has nothing to do with the tile: it is the square root of head_dim, the width of a query.",
)
tiled_attention.mistake(
    "scales by the number of tokens",
    replace=[("queries.shape[1]", "queries.shape[0]")],
    caught_by=one_tile,
    nudge="You divide by the square root of the number of tokens. It is that of head_dim, the width of a query: "
    "`queries.shape[1]`.",
)
tiled_attention.mistake(
    "keys against queries",
    replace=[("mine @ keys[left : left + tile].T", "keys[left : left + tile] @ mine.T")],
    caught_by=one_tile,
    nudge="Your scores have a row for each key. They need one for each query: queries @ keys.T.",
)
tiled_attention.mistake(
    "hides with 0",
    replace=[("masked_fill(future, -math.inf)", "masked_fill(future, 0)")],
    caught_by=one_tile,
    nudge="A score of 0 still has weight: exp(0 - largest). Hidden is a score of -inf.",
)
tiled_attention.mistake(
    "hides after the update",
    replace=[
        ("            scores = scores.masked_fill(future, -math.inf)\n", ""),
        (
            "            weights = (scores - largest[:, None]).exp()\n",
            "            scores = scores.masked_fill(future, -math.inf)\n"
            "            weights = (scores - largest[:, None]).exp()\n",
        ),
    ],
    caught_by=one_tile,
    nudge="`update` still sees the future: its scores are in `total`, so the weights sum to less than 1. Hide first.",
)
tiled_attention.mistake(
    "a tile begins at each key",
    replace=[("range(0, top + len(mine), tile)", "range(0, top + len(mine))")],
    caught_by=one_tile,
    nudge="Your tiles of keys overlap, so some keys count several times. The next begins `tile` further on.",
)
tiled_attention.mistake(
    "a tile behind the last key",
    replace=[("range(0, top + len(mine), tile)", "range(0, top + len(mine) + tile, tile)")],
    caught_by=one_tile,
    nudge="One tile of yours begins behind the last key and is empty. Stop behind the last query at hand.",
)
tiled_attention.mistake(
    "begins anew with each tile of keys",
    replace=[
        (
            "            before = largest\n",
            "            largest, total = torch.full((len(mine),), -math.inf), torch.zeros(len(mine))\n"
            "            before = largest\n",
        )
    ],
    caught_by=several_tiles,
    nudge="Each tile of queries ends up with its own keys only. All keys before them count, too: the first tile of "
    "keys begins at 0, and `largest` and `total` go on from tile to tile.",
)
tiled_attention.mistake(
    "no mask",
    replace=[("scores = scores.masked_fill(future, -math.inf)", "pass")],
    caught_by=one_tile,
    nudge="Queries see keys that come after them. In the last tile of a row, part of the scores must be hidden. "
    "(`masked_fill` gives a new tensor: keep it.)",
)
tiled_attention.mistake(
    "a mask as large as a full tile",
    replace=[
        ("torch.arange(left, left + scores.shape[1])", "torch.arange(left, left + tile)"),
        ("torch.arange(top, top + len(mine))", "torch.arange(top, top + tile)"),
    ],
    caught_by=one_tile,
    nudge="Your mask is as large as a full tile, and this one is smaller. `scores.shape` tells how many queries and "
    "keys there are.",
)
tiled_attention.mistake(
    "the largest as a row",
    replace=[("(scores - largest[:, None]).exp()", "(scores - largest).exp()")],
    caught_by=one_tile,
    nudge="[rows, columns] - [rows] lines up the last axes, which are columns: every query gets the largest scores of "
    "others. `largest[:, None]` is a column.",
)
tiled_attention.mistake(
    "hides itself",
    replace=[("positions > torch.arange", "positions >= torch.arange")],
    caught_by=one_tile,
    nudge=NOTHING_SEEN,
)
tiled_attention.mistake(
    "hides the past",
    replace=[("positions > torch.arange", "positions < torch.arange")],
    caught_by=one_tile,
    nudge="The wrong side is hidden. Keys whose place is behind that of the query are the future.",
)
tiled_attention.mistake(
    "a mask for each tile by itself",
    replace=[
        ("torch.arange(left, left + scores.shape[1])", "torch.arange(scores.shape[1])"),
        ("torch.arange(top, top + len(mine))", "torch.arange(len(mine))"),
    ],
    caught_by=several_tiles,
    nudge="Every tile gets a triangle. Only tiles on the diagonal have one; left of it everything is past. Compare "
    "places in the text, not places in the tile.",
)
tiled_attention.mistake(
    "places of the queries from 0",
    replace=[("torch.arange(top, top + len(mine))", "torch.arange(len(mine))")],
    caught_by=several_tiles,
    nudge="Your queries always stand at 0, 1, ... The first of this tile is token `top`.",
)
tiled_attention.mistake(
    "places of the keys from 0",
    replace=[("torch.arange(left, left + scores.shape[1])", "torch.arange(scores.shape[1])")],
    caught_by=several_tiles,
    nudge="Your keys always stand at 0, 1, ... The first of this tile is token `left`, where the tile begins. So on "
    "the diagonal some of what you let through is the future.",
)
tiled_attention.mistake(
    "skips the diagonal",
    replace=[("range(0, top + len(mine), tile)", "range(0, top, tile)")],
    caught_by=one_tile,
    nudge=NOTHING_SEEN,
)
tiled_attention.mistake(
    "skips all but the diagonal",
    replace=[("range(0, top + len(mine), tile)", "range(top, top + len(mine), tile)")],
    caught_by=several_tiles,
    nudge="Each tile of queries ends up with its own keys only. All keys before them count, too: the first tile of "
    "keys begins at 0, and `largest` and `total` go on from tile to tile.",
)
tiled_attention.mistake(
    "whole tiles of keys only",
    replace=[("range(0, top + len(mine), tile)", "range(0, max(tile, len(keys) // tile * tile), tile)")],
    caught_by=the_last_tile_is_shorter,
    nudge="The keys of the last tile, which is not full, are never read.",
)
tiled_attention.mistake(
    "no rescaling of the output",
    replace=[("output * (before - largest).exp()[:, None] + ", "output + ")],
    caught_by=several_tiles,
    nudge="What `output` has seen before was measured from the old largest score, so it shrinks by the same factor as "
    "the sum: exp(old largest - new largest). Keep the old one before you call `update`.",
)
tiled_attention.mistake(
    "rescales by the new largest",
    replace=[
        (
            "            before = largest\n            largest, total = update(largest, total, scores)\n",
            "            largest, total = update(largest, total, scores)\n            before = largest\n",
        )
    ],
    caught_by=several_tiles,
    nudge="What `output` has seen before was measured from the old largest score, so it shrinks by the same factor as "
    "the sum: exp(old largest - new largest). Keep the old one before you call `update`.",
)
tiled_attention.mistake(
    "rescales the wrong way round",
    replace=[("(before - largest).exp()", "(largest - before).exp()")],
    caught_by=one_tile,
    nudge=NOTHING_SEEN,
)
tiled_attention.mistake(
    "the weights from the old largest",
    replace=[("(scores - largest[:, None]).exp()", "(scores - before[:, None]).exp()")],
    caught_by=one_tile,
    nudge="The weights are measured from the old largest score, which is -inf at first. Measure from the new one.",
)
tiled_attention.mistake(
    "weights without the largest",
    replace=[("(scores - largest[:, None]).exp()", "scores.exp()")],
    caught_by=one_tile,
    nudge="`total` is the sum of exp(score - largest), and your weights are exp(score). Both must be measured alike.",
)
tiled_attention.mistake(
    "a softmax in each tile",
    replace=[("(scores - largest[:, None]).exp()", "scores.softmax(dim=1)")],
    caught_by=one_tile,
    nudge="Your part of a tile is divided by a sum already, and at the end all is divided again. Add up exp(score - "
    "largest) times value; once, at the end, is enough.",
)
tiled_attention.mistake(
    "divides in each tile",
    replace=[("weights @ values[left : left + tile]", "weights @ values[left : left + tile] / total[:, None]")],
    caught_by=one_tile,
    nudge="Your part of a tile is divided by a sum already, and at the end all is divided again. Add up exp(score - "
    "largest) times value; once, at the end, is enough.",
)
tiled_attention.mistake(
    "replaces the output",
    replace=[("output * (before - largest).exp()[:, None] + weights", "weights")],
    caught_by=several_tiles,
    nudge="Each tile overwrites the output of those before it. Rescale it and add.",
)
tiled_attention.mistake(
    "rescales the new part as well",
    replace=[
        (
            "output * (before - largest).exp()[:, None] + weights @ values[left : left + tile]",
            "(output + weights @ values[left : left + tile]) * (before - largest).exp()[:, None]",
        )
    ],
    caught_by=one_tile,
    nudge="The new part is measured from the new largest score already. Only the old output is rescaled.",
)
tiled_attention.mistake(
    "a row where a column belongs",
    replace=[("(before - largest).exp()[:, None]", "(before - largest).exp()")],
    caught_by=several_tiles,
    nudge="One factor for each row of the output: `[:, None]` makes a column of it.",
)
tiled_attention.mistake(
    "values of the queries",
    replace=[("values[left : left + tile]", "values[top : top + tile]")],
    caught_by=several_tiles,
    nudge="Those are the values of the queries' own tokens. The weights belong to the keys of this tile: take their "
    "values.",
)
tiled_attention.mistake(
    "always the first values",
    replace=[("values[left : left + tile]", "values[:tile]")],
    caught_by=several_tiles,
    nudge="Always the values of the first tile. Each tile of keys has its own.",
)
tiled_attention.mistake(
    "always the first keys",
    replace=[("keys[left : left + tile]", "keys[:tile]")],
    caught_by=several_tiles,
    nudge="Always the keys of the first tile. The next ones begin at `left`.",
)
tiled_attention.mistake(
    "one key at a time into the tile",
    replace=[("keys[left : left + tile]", "keys[left]")],
    caught_by=one_tile,
    nudge="`keys[left]` is one key. A tile of them is `keys[left : left + tile]`.",
)
tiled_attention.mistake(
    "all keys in one tile",
    replace=[
        ("range(0, top + len(mine), tile)", "range(1)"),
        ("keys[left : left + tile]", "keys"),
        ("values[left : left + tile]", "values"),
    ],
    caught_by=no_more_than_a_tile_at_once,
    nudge="One product of yours takes all keys at once: the big matrix, or a strip of it. The point is never to have "
    "it: go tile by tile.",
)
tiled_attention.mistake(
    "the big matrix, cut afterwards",
    text="""
def tiled_attention(queries, keys, values, tile):
    scores = queries @ keys.T / math.sqrt(queries.shape[1])
    hidden = torch.ones(len(keys), len(keys), dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -math.inf).softmax(dim=1) @ values
""",
    caught_by=no_more_than_a_tile_at_once,
    nudge="One product of yours takes all keys at once: the big matrix, or a strip of it. The point is never to have "
    "it: go tile by tile.",
)
tiled_attention.mistake(
    "reads the future and hides it",
    replace=[("range(0, top + len(mine), tile)", "range(0, len(keys), tile)")],
    caught_by=the_future_is_not_read,
    nudge="Tiles right of the diagonal are read, computed, and hidden as a whole. They can be skipped: stop behind the "
    "last query at hand.",
)
tiled_attention.mistake(
    "two passes",
    text="""
def tiled_attention(queries, keys, values, tile):
    outputs = []
    for top in range(0, len(queries), tile):
        mine = queries[top : top + tile]

        def scores_of(left):
            scores = mine @ keys[left : left + tile].T / math.sqrt(queries.shape[1])
            future = torch.arange(left, left + scores.shape[1]) > torch.arange(top, top + len(mine))[:, None]
            return scores.masked_fill(future, -math.inf)

        lefts = range(0, top + len(mine), tile)
        largest = torch.stack([scores_of(left).amax(dim=1) for left in lefts]).amax(dim=0)
        weights = [(scores_of(left) - largest[:, None]).exp() for left in lefts]
        total = sum(part.sum(dim=1) for part in weights)
        output = sum(part @ values[left : left + tile] for left, part in zip(lefts, weights))
        outputs.append(output / total[:, None])
    return torch.cat(outputs)
""",
    caught_by=the_future_is_not_read,
    nudge="Two passes: the first looks for the largest score, the second reads all keys again. `update` "
    "makes one pass of it.",
)
tiled_attention.alternative(
    """
def tiled_attention(queries, keys, values, tile):
    answer = torch.empty(len(queries), values.shape[1])
    scale = queries.shape[1] ** -0.5
    for top in range(0, len(queries), tile):
        rows = slice(top, min(top + tile, len(queries)))
        state = (torch.full((rows.stop - top,), -math.inf), torch.zeros(rows.stop - top))
        output = torch.zeros(rows.stop - top, values.shape[1])
        for left in range(0, rows.stop, tile):
            columns = slice(left, min(left + tile, len(keys)))
            scores = scale * torch.einsum("qd,kd->qk", queries[rows], keys[columns])
            if left == top:
                scores += torch.full(scores.shape, -1e9).triu(1)
            new = update(*state, scores)
            output = torch.exp(state[0] - new[0]).unsqueeze(1) * output
            output += torch.exp(scores - new[0].unsqueeze(1)) @ values[columns]
            state = new
        answer[rows] = output / state[1].unsqueeze(1)
    return answer
"""
)


# 3: naive_bytes


@define("flash_attention.naive_bytes", points=1)
def naive_bytes(num_tokens: int, head_dim: int, element_bytes: int = 2) -> int:
    """Bytes that attention of one head moves in three steps.

    Each step reads what it needs and writes its result: scores = queries @ keys.T, then
    weights = softmax(scores), then outputs = weights @ values. All numbers take `element_bytes`.
    Hidden scores are moved like others. About 3 lines.
    """
    vectors = 4 * num_tokens * head_dim  # queries, keys and values in, outputs out
    squares = 4 * num_tokens * num_tokens  # scores out and in, weights out and in
    return (vectors + squares) * element_bytes


def moved_by_three_steps(num_tokens: int, head_dim: int, element_bytes: int) -> int:
    """Make the arrays, and weigh whatever a step reads and writes."""
    queries, keys, values, outputs = (np.zeros((num_tokens, head_dim)) for _ in range(4))
    scores, weights = np.zeros((num_tokens, num_tokens)), np.zeros((num_tokens, num_tokens))
    steps = [(queries, keys, scores), (scores, weights), (weights, values, outputs)]
    return sum(array.size * element_bytes for step in steps for array in step)


@naive_bytes.check(
    hint="Write the three steps below one another: what goes in, what comes out? Which of it is a square?"
)
def three_steps(rng: np.random.Generator) -> Cases:
    # With 3, 7 and 8 no two of the mistakes below come to the same number.
    for num_tokens, head_dim, element_bytes in ((3, 7, 8), (int(rng.integers(7, 30)), 5, 4)):
        yield call(num_tokens, head_dim, element_bytes).returns(
            moved_by_three_steps(num_tokens, head_dim, element_bytes)
        )


@naive_bytes.check(hint="If nobody says how wide a number is, it takes 2 bytes.")
def numbers_of_two_bytes(rng: np.random.Generator) -> Cases:
    for num_tokens, head_dim in ((3, 5), (int(rng.integers(7, 30)), 5)):
        yield call(num_tokens, head_dim).returns(moved_by_three_steps(num_tokens, head_dim, 2))


naive_bytes.mistake(
    "the square once",
    replace=[("4 * num_tokens * num_tokens", "num_tokens * num_tokens")],
    caught_by=three_steps,
    nudge="The square is counted once. Scores are written and read again, and so are the weights: four times in all.",
)
naive_bytes.mistake(
    "the softmax moves nothing",
    replace=[("4 * num_tokens * num_tokens", "2 * num_tokens * num_tokens")],
    caught_by=three_steps,
    nudge="Two squares are missing. Softmax reads the scores from memory and writes the weights; the next step reads "
    "them.",
)
naive_bytes.mistake(
    "in place",
    replace=[("4 * num_tokens * num_tokens", "3 * num_tokens * num_tokens")],
    caught_by=three_steps,
    nudge="One square is missing. Even if the weights take the place of the scores, both are written and both are "
    "read.",
)
naive_bytes.mistake(
    "no vectors",
    replace=[("(vectors + squares)", "squares")],
    caught_by=three_steps,
    nudge="Queries, keys and values have to be read, and the outputs written.",
)
naive_bytes.mistake(
    "no square",
    replace=[("(vectors + squares)", "vectors")],
    caught_by=three_steps,
    nudge="The big matrix is missing: between the steps, scores and weights go to memory and come back.",
)
naive_bytes.mistake(
    "outputs stay",
    replace=[("4 * num_tokens * head_dim", "3 * num_tokens * head_dim")],
    caught_by=three_steps,
    nudge="Four arrays are [tokens, head_dim]: queries, keys, values, and the outputs that are written.",
)
naive_bytes.mistake(
    "half of the square",
    replace=[("4 * num_tokens * num_tokens", "2 * num_tokens * (num_tokens + 1)")],
    caught_by=three_steps,
    nudge="True, the upper half is hidden. But the three steps know squares only: hidden scores are moved like others.",
)
naive_bytes.mistake(
    "numbers, not bytes",
    replace=[(" * element_bytes", "")],
    caught_by=three_steps,
    nudge="That is how many numbers move. Each takes `element_bytes` bytes.",
)
naive_bytes.mistake(
    "always two bytes",
    replace=[(" * element_bytes", " * 2")],
    caught_by=three_steps,
    nudge="A number does not always take 2 bytes: ask `element_bytes`.",
)
naive_bytes.mistake(
    "a parenthesis too few",
    replace=[("(vectors + squares) * element_bytes", "vectors + squares * element_bytes")],
    caught_by=three_steps,
    nudge="The vectors are counted in numbers and the squares in bytes. Is a parenthesis missing?",
)
naive_bytes.mistake(
    "a square of head_dim",
    replace=[("4 * num_tokens * num_tokens", "4 * num_tokens * head_dim * head_dim")],
    caught_by=three_steps,
    nudge="The scores are [tokens, tokens]: one for each query and key. head_dim is summed away.",
)
naive_bytes.mistake(
    "squares are not in bytes",
    replace=[("(vectors + squares) * element_bytes", "vectors * element_bytes + squares")],
    caught_by=three_steps,
    nudge="The squares are counted in numbers and the vectors in bytes. Is a parenthesis missing?",
)
naive_bytes.mistake(
    "two vectors for four",
    replace=[("4 * num_tokens * head_dim", "2 * num_tokens * head_dim")],
    caught_by=three_steps,
    nudge="Four arrays are [tokens, head_dim]: queries and keys come in first, values later, and the outputs go out.",
)
naive_bytes.mistake(
    "vectors of one number",
    replace=[("4 * num_tokens * head_dim", "4 * num_tokens")],
    caught_by=three_steps,
    nudge="Queries, keys, values and outputs have head_dim numbers for each token, not one.",
)
naive_bytes.mistake(
    "what is written, not what is read",
    replace=[
        ("4 * num_tokens * head_dim", "num_tokens * head_dim"),
        ("4 * num_tokens * num_tokens", "2 * num_tokens * num_tokens"),
    ],
    caught_by=three_steps,
    nudge="You count what each step writes. It also reads what it needs, and that moves, too.",
)
naive_bytes.mistake(
    "what is read, not what is written",
    replace=[
        ("4 * num_tokens * head_dim", "3 * num_tokens * head_dim"),
        ("4 * num_tokens * num_tokens", "2 * num_tokens * num_tokens"),
    ],
    caught_by=three_steps,
    nudge="You count what each step reads. Its result is written, and that moves, too.",
)
naive_bytes.mistake(
    "a mask is read, too",
    replace=[("4 * num_tokens * num_tokens", "5 * num_tokens * num_tokens")],
    caught_by=three_steps,
    nudge="One square too many: four of them move, scores out and in, weights out and in. A mask is not read; a step "
    "knows which scores are the future.",
)
naive_bytes.mistake(
    "hiding as a step of its own",
    replace=[("4 * num_tokens * num_tokens", "6 * num_tokens * num_tokens")],
    caught_by=three_steps,
    nudge="Two squares too many. There are three steps; to hide the future is not one more, it happens on the way.",
)
naive_bytes.mistake(
    "arithmetic for bytes",
    replace=[("(vectors + squares)", "4 * num_tokens * num_tokens * head_dim")],
    caught_by=three_steps,
    nudge="That is the arithmetic: tokens · tokens · head_dim. What moves are arrays, and none has three axes.",
)
naive_bytes.mistake(
    "bits",
    replace=[(" * element_bytes", " * element_bytes * 8")],
    caught_by=three_steps,
    nudge="That is in bits. Bytes are wanted.",
)
naive_bytes.mistake(
    "scores as long as a vector",
    replace=[("4 * num_tokens * num_tokens", "4 * num_tokens * head_dim")],
    caught_by=three_steps,
    nudge="The scores are [tokens, tokens]: one for each query and key. head_dim is summed away.",
)
naive_bytes.alternative(
    """
def naive_bytes(num_tokens, head_dim, element_bytes=2):
    n, d = num_tokens, head_dim
    first, second, third = 2 * n * d + n**2, 2 * n**2, n**2 + 2 * n * d
    return element_bytes * (first + second + third)
"""
)


# 4: tiled_bytes


@define("flash_attention.tiled_bytes", points=2)
def tiled_bytes(num_tokens: int, head_dim: int, tile: int, element_bytes: int = 2) -> int:
    """Bytes that your `tiled_attention` moves between memory and the chip, for one head.

    Each query is read once and each output written once. Each tile of queries reads the keys and
    the values of all tiles up to its own. Scores and sums never leave the chip. About 3 lines.
    """
    tops = range(0, num_tokens, tile)
    rows = sum(min(top + tile, num_tokens) for top in tops)  # keys that are read, each time counted
    return (2 * num_tokens + 2 * rows) * head_dim * element_bytes


def moved_by_tiles(num_tokens: int, head_dim: int, tile: int, element_bytes: int) -> int:
    """Go through the tiles as the kernel does, and weigh what comes and goes."""
    tokens = list(range(num_tokens))
    tiles = [tokens[i : i + tile] for i in range(0, num_tokens, tile)]
    vectors = 0
    for i, mine in enumerate(tiles):
        vectors += len(mine)  # queries in
        for theirs in tiles[: i + 1]:
            vectors += len(theirs)  # keys in
            vectors += len(theirs)  # values in
        vectors += len(mine)  # outputs out
    return vectors * head_dim * element_bytes


@tiled_bytes.check(
    hint="Draw the triangle of tiles: how many tiles of keys does the first tile of queries read? The last?"
)
def full_tiles(rng: np.random.Generator) -> Cases:
    for num_tiles, tile, head_dim in ((4, 3, 7), (int(rng.integers(5, 9)), 16, 5)):
        yield call(num_tiles * tile, head_dim, tile).returns(moved_by_tiles(num_tiles * tile, head_dim, tile, 2))


@tiled_bytes.check(hint="The last tile has fewer tokens; only those are read.")
def the_last_tile_is_not_full(rng: np.random.Generator) -> Cases:
    for num_tokens, tile in ((3, 2), (10, 4), (int(rng.integers(60, 79)), 10)):
        num_tokens += num_tokens % tile == 0
        yield call(num_tokens, 3, tile).returns(moved_by_tiles(num_tokens, 3, tile, 2))


@tiled_bytes.check(hint="One tile holds all: then queries, keys and values are read once, and outputs written once.")
def all_in_one_tile(rng: np.random.Generator) -> Cases:
    for num_tokens, head_dim in ((3, 5), (int(rng.integers(4, 9)), 7)):
        tile = num_tokens + int(rng.integers(1, 3))
        yield call(num_tokens, head_dim, tile).returns(moved_by_tiles(num_tokens, head_dim, tile, 2))


@tiled_bytes.check(hint="Numbers may take 1 or 4 bytes: ask `element_bytes`.")
def numbers_of_other_widths(rng: np.random.Generator) -> Cases:
    for element_bytes in (1, 4):
        num_tokens = int(rng.integers(5, 30))
        yield call(num_tokens, 4, 3, element_bytes).returns(moved_by_tiles(num_tokens, 4, 3, element_bytes))


TWO_FOR_EACH_TOKEN = (
    "Two vectors are missing for each token. Is each query read, and each output written? And does a tile of queries "
    "also read the keys and values of its own tokens, on the diagonal?"
)
ONE_FOR_EACH_TOKEN = (
    "One vector is missing for each token. Are outputs written? Or did you halve a square: that leaves out half of "
    "each tile on the diagonal, and those are read whole."
)
ONCE = (
    "You read each key once. The chip forgets: every tile of queries has to read the keys and values of all tiles "
    "before it again."
)
tiled_bytes.mistake(
    "everything once",
    replace=[("2 * num_tokens + 2 * rows", "4 * num_tokens")],
    caught_by=full_tiles,
    nudge=ONCE,
)
tiled_bytes.mistake(
    "reads the future",
    replace=[("min(top + tile, num_tokens) for top in tops", "num_tokens for top in tops")],
    caught_by=full_tiles,
    nudge="Each tile of queries reads all keys in your count. Those behind its own tile are the future: not read.",
)
tiled_bytes.mistake(
    "without the diagonal",
    replace=[("min(top + tile, num_tokens) for", "top for")],
    caught_by=full_tiles,
    nudge=TWO_FOR_EACH_TOKEN,
)
tiled_bytes.mistake(
    "only the diagonal",
    replace=[("min(top + tile, num_tokens) for", "min(tile, num_tokens - top) for")],
    caught_by=full_tiles,
    nudge=ONCE,
)
tiled_bytes.mistake(
    "half of all",
    replace=[("    rows = sum(min(top + tile, num_tokens) for top in tops)", "    rows = len(tops) * num_tokens // 2")],
    caught_by=full_tiles,
    nudge=ONE_FOR_EACH_TOKEN,
)
tiled_bytes.mistake(
    "the last tile as if it were full",
    replace=[("min(top + tile, num_tokens) for", "top + tile for")],
    caught_by=the_last_tile_is_not_full,
    nudge="The last tile may not be full. No key is read behind the last token.",
)
tiled_bytes.mistake(
    "whole tiles only",
    replace=[("range(0, num_tokens, tile)", "range(0, max(num_tokens - tile + 1, 1), tile)")],
    caught_by=the_last_tile_is_not_full,
    nudge="The last tile, which is not full, is left out. It reads most keys of all.",
)
tiled_bytes.mistake(
    "forgets the values",
    replace=[("2 * num_tokens + 2 * rows", "2 * num_tokens + rows")],
    caught_by=full_tiles,
    nudge="Keys alone. Each tile of keys comes with its values.",
)
tiled_bytes.mistake(
    "forgets the outputs",
    replace=[("2 * num_tokens + 2 * rows", "num_tokens + 2 * rows")],
    caught_by=full_tiles,
    nudge=ONE_FOR_EACH_TOKEN,
)
tiled_bytes.mistake(
    "forgets queries and outputs",
    replace=[("2 * num_tokens + 2 * rows", "2 * rows")],
    caught_by=full_tiles,
    nudge=TWO_FOR_EACH_TOKEN,
)
tiled_bytes.mistake(
    "queries for each tile of keys",
    replace=[("2 * num_tokens + 2 * rows", "num_tokens + 3 * rows")],
    caught_by=full_tiles,
    nudge="Your queries are read, or your outputs written, again with each tile of keys. Both stay on the chip: once.",
)
tiled_bytes.mistake(
    "writes the scores",
    replace=[
        ("* head_dim * element_bytes", "* head_dim * element_bytes + rows * tile * element_bytes"),
    ],
    caught_by=full_tiles,
    nudge="More than comes and goes. The scores of a tile never leave the chip; that is the whole point.",
)
tiled_bytes.mistake(
    "writes and reads the scores",
    replace=[
        ("* head_dim * element_bytes", "* head_dim * element_bytes + 2 * rows * tile * element_bytes"),
    ],
    caught_by=full_tiles,
    nudge="More than comes and goes. The scores of a tile never leave the chip; that is the whole point.",
)
tiled_bytes.mistake(
    "keys for each query",
    replace=[
        ("    rows = sum(min(top + tile, num_tokens) for top in tops)", "    rows = sum(range(1, num_tokens + 1))")
    ],
    caught_by=full_tiles,
    nudge="Your keys are read for each query by itself. A whole tile of queries shares what was read: once for each "
    "tile.",
)
tiled_bytes.mistake(
    "tiles for keys",
    replace=[
        (
            "    rows = sum(min(top + tile, num_tokens) for top in tops)",
            "    rows = sum(top // tile + 1 for top in tops)",
        )
    ],
    caught_by=full_tiles,
    nudge="You count tiles of keys as if each held one. It has `tile` of them.",
)
tiled_bytes.mistake(
    "queries and outputs count as tiles",
    replace=[("2 * num_tokens + 2 * rows", "2 * len(tops) + 2 * rows")],
    caught_by=full_tiles,
    nudge="There is one query and one output for each token, not for each tile.",
)
tiled_bytes.mistake(
    "keys stay",
    text="""
def tiled_bytes(num_tokens, head_dim, tile, element_bytes=2):
    vectors = 0
    for first in range(0, num_tokens, tile):
        vectors += 2 * min(tile, num_tokens - first)
        vectors += 2 * (num_tokens - first)
    return vectors * head_dim * element_bytes
""",
    caught_by=the_last_tile_is_not_full,
    nudge="You let keys stay while queries pass. In `tiled_attention` queries stay: where the last tile is not full, "
    "that is another number.",
)
tiled_bytes.mistake(
    "numbers, not bytes",
    replace=[(" * element_bytes", "")],
    caught_by=full_tiles,
    nudge="That is how many numbers move. Each takes `element_bytes` bytes.",
)
tiled_bytes.mistake(
    "vectors, not numbers",
    replace=[(" * head_dim", "")],
    caught_by=full_tiles,
    nudge="That counts vectors. Each has head_dim numbers.",
)
tiled_bytes.mistake(
    "always two bytes",
    replace=[(" * element_bytes", " * 2")],
    caught_by=numbers_of_other_widths,
    nudge="A number does not always take 2 bytes: ask `element_bytes`.",
)
tiled_bytes.alternative(
    """
def tiled_bytes(num_tokens, head_dim, tile, element_bytes=2):
    full, rest = divmod(num_tokens, tile)
    rows = tile * full * (full + 1) // 2 + (num_tokens if rest else 0)
    return 2 * element_bytes * head_dim * (num_tokens + rows)
"""
)


# 5: merge


@define("flash_attention.merge", points=2, grants=TORCH)
def merge(
    output_a: Tensor,
    lse_a: Tensor,
    output_b: Tensor,
    lse_b: Tensor,
) -> tuple[Tensor, Tensor]:
    """Attention over all keys, from attention over two parts of them.

    Of each part: the outputs [rows, width], softmax(scores) @ values over its keys alone, and
    log(sum(exp(score))) [rows], the log-sum-exp of its scores. Where a row sees no key of one
    part, that is -inf, and the output 0; it sees some of the other. Return both of all keys
    together. About 4 lines. Scores may be large, and exp of a large number is infinite.
    """
    largest = torch.maximum(lse_a, lse_b)
    share_a, share_b = (lse_a - largest).exp(), (lse_b - largest).exp()
    total = share_a + share_b
    output = (share_a[:, None] * output_a + share_b[:, None] * output_b) / total[:, None]
    return output, largest + total.log()


def attended(scores: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and log-sum-exp of rows of scores, in double precision; rows that see nothing give 0 and -inf."""
    outputs, lses = np.zeros((len(scores), values.shape[1])), np.full(len(scores), MINUS_INF)
    for i, row in enumerate(scores):
        top = max(row, default=MINUS_INF)
        if top == MINUS_INF:
            continue
        powers = [math.exp(score - top) for score in row]
        lses[i] = top + math.log(sum(powers))
        outputs[i] = sum(power / sum(powers) * value for power, value in zip(powers, values, strict=True))
    return outputs, lses


def two_parts(scores: np.ndarray, values: np.ndarray, cut: int) -> Any:
    """A call with the results of both parts, and the result of all keys."""
    part_a, part_b = attended(scores[:, :cut], values[:cut]), attended(scores[:, cut:], values[cut:])
    whole = attended(scores, values)
    return call(*map(as_tensor, part_a), *map(as_tensor, part_b)).returns(tuple(map(as_tensor, whole)))


@merge.check(hint="How much of all exp(score) is in each part? With so much weight its output counts.")
def two_parts_of_a_row(rng: np.random.Generator) -> Cases:
    for rows, keys, width in ((1, 2, 1), (2, 5, 3), (3, 7, 2)):
        scores, values = some_scores(rng, rows, keys), rng.standard_normal((keys, width)).round(1)
        scores[:, -1] += 2  # the parts weigh differently
        yield two_parts(scores, values, cut=1 + (keys > 2))


@merge.check(hint="exp(lse) is too large to be written down. Only differences of lse are safe.")
def large_scores_in_both(rng: np.random.Generator) -> Cases:
    for shift in (300, -300):
        yield two_parts(some_scores(rng, 2, 4) + shift, rng.standard_normal((4, 3)).round(1), cut=2)


@merge.check(hint="What is subtracted before exp belongs to a row: the larger lse of the two parts, row by row.")
def rows_far_apart(rng: np.random.Generator) -> Cases:
    for low, high in ((-300, 300), (300, -300)):
        yield two_parts(some_scores(rng, 2, 4) + np.array([[low], [high]]), rng.standard_normal((4, 3)).round(1), cut=2)


@merge.check(hint="A part in which a row sees nothing has weight exp(-inf) = 0. The other part alone counts.")
def a_row_sees_nothing_of_a_part(rng: np.random.Generator) -> Cases:
    for hidden in (slice(2, 4), slice(0, 2)):
        scores = some_scores(rng, 2, 4)
        scores[0, hidden] = MINUS_INF
        yield two_parts(scores, rng.standard_normal((4, 3)).round(1), cut=2)


merge.mistake(
    "a plain average",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    return (output_a + output_b) / 2, torch.logaddexp(lse_a, lse_b)
""",
    caught_by=two_parts_of_a_row,
    nudge="The plain average counts both parts alike. A part with larger scores, or more keys, has more of the weight: "
    "exp(lse) of it.",
)
merge.mistake(
    "adds the outputs",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    return output_a + output_b, torch.logaddexp(lse_a, lse_b)
""",
    caught_by=two_parts_of_a_row,
    nudge="Each output is divided by the sum of its own part already. Their sum would count twice; a weighted mean is "
    "wanted. Or do you take a softmax along the rows? The two parts of a row share the weight: stack them, `dim=0`.",
)
merge.mistake(
    "weights by lse",
    replace=[
        (
            "    share_a, share_b = (lse_a - largest).exp(), (lse_b - largest).exp()\n",
            "    share_a, share_b = lse_a, lse_b\n",
        ),
        ("largest + total.log()", "torch.logaddexp(lse_a, lse_b)"),
    ],
    caught_by=two_parts_of_a_row,
    nudge="lse is a logarithm, and may be negative. The sum behind it is exp(lse): weigh by that.",
)
merge.mistake(
    "exp of lse itself",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    share_a, share_b = lse_a.exp(), lse_b.exp()
    total = share_a + share_b
    return (share_a[:, None] * output_a + share_b[:, None] * output_b) / total[:, None], total.log()
""",
    caught_by=large_scores_in_both,
    nudge="exp(300) is infinite in 32 bits, and exp(-300) is 0. Subtract the larger lse from both before exp.",
)
merge.mistake(
    "divides by nothing",
    replace=[(" / total[:, None]", "")],
    caught_by=two_parts_of_a_row,
    nudge="The shares do not sum to 1. Divide by their sum.",
)
merge.mistake(
    "the softmax along the rows",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    both = torch.stack([lse_a, lse_b])
    shares = both.softmax(dim=1)
    return shares[0][:, None] * output_a + shares[1][:, None] * output_b, both.logsumexp(dim=0)
""",
    caught_by=two_parts_of_a_row,
    nudge="Each output is divided by the sum of its own part already. Their sum would count twice; a weighted mean is "
    "wanted. Or do you take a softmax along the rows? The two parts of a row share the weight: stack them, `dim=0`.",
)
merge.mistake(
    "one largest for all rows",
    replace=[("torch.maximum(lse_a, lse_b)", "torch.maximum(lse_a.max(), lse_b.max())")],
    caught_by=rows_far_apart,
    nudge="One number is subtracted from all rows. Seen from a row of large scores, exp of the others is 0, and 0 / 0 "
    "is nan. Each row has its own: `torch.maximum(lse_a, lse_b)`.",
)
merge.mistake(
    "shares of the product",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    lse = lse_a + lse_b
    return (lse_a - lse).exp()[:, None] * output_a + (lse_b - lse).exp()[:, None] * output_b, lse
""",
    caught_by=two_parts_of_a_row,
    nudge="lse_a + lse_b is the logarithm of a product. Of both parts together it is log(exp(lse_a) + exp(lse_b)).",
)
merge.mistake(
    "swaps the two",
    replace=[("return output, largest + total.log()", "return largest + total.log(), output")],
    caught_by=two_parts_of_a_row,
    nudge="Both are right and stand in the wrong order: first the outputs, then the lse.",
)
merge.mistake(
    "leaves a part out, once a row does not see it",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    if (lse_a == -math.inf).any():
        return output_b, lse_b
    if (lse_b == -math.inf).any():
        return output_a, lse_a
    lse = torch.logaddexp(lse_a, lse_b)
    return (lse_a - lse).exp()[:, None] * output_a + (lse_b - lse).exp()[:, None] * output_b, lse
""",
    caught_by=a_row_sees_nothing_of_a_part,
    nudge="One row sees nothing of a part, and you leave that part out for all rows. No `if` is needed: "
    "exp(-inf) is 0.",
)
merge.mistake(
    "cuts large numbers off",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    share_a, share_b = lse_a.clamp(max=80).exp(), lse_b.clamp(max=80).exp()
    total = share_a + share_b
    return (share_a[:, None] * output_a + share_b[:, None] * output_b) / total[:, None], total.log()
""",
    caught_by=large_scores_in_both,
    nudge="Cut off, 300 and 301 are the same number. Subtract the larger lse from both: their difference counts.",
)
merge.mistake(
    "the lse of the larger part",
    replace=[("largest + total.log()", "largest")],
    caught_by=two_parts_of_a_row,
    nudge="The outputs are right; the lse is that of the larger part alone. Both sums together are exp(largest) * "
    "total.",
)
merge.mistake(
    "adds the lse",
    replace=[("largest + total.log()", "lse_a + lse_b")],
    caught_by=two_parts_of_a_row,
    nudge="Logarithms are added where sums are multiplied. Here the sums are added: log(exp(a) + exp(b)).",
)
merge.mistake(
    "forgets the largest",
    replace=[("largest + total.log()", "total.log()")],
    caught_by=two_parts_of_a_row,
    nudge="The lse lacks what you have subtracted: add the largest again.",
)
merge.mistake(
    "the sum, not its logarithm",
    replace=[("largest + total.log()", "total")],
    caught_by=two_parts_of_a_row,
    nudge="The second result is a log-sum-exp again, so that it can be merged with the next part.",
)
merge.mistake(
    "the shares the wrong way round",
    replace=[
        (
            "share_a[:, None] * output_a + share_b[:, None] * output_b",
            "share_b[:, None] * output_a + share_a[:, None] * output_b",
        )
    ],
    caught_by=two_parts_of_a_row,
    nudge="Each output got the other part's share.",
)
merge.mistake(
    "shares upside down",
    replace=[("(lse_a - largest).exp(), (lse_b - largest).exp()", "(largest - lse_a).exp(), (largest - lse_b).exp()")],
    caught_by=two_parts_of_a_row,
    nudge="The smaller part gets the larger share. It is exp(lse - largest), at most 1.",
)
merge.mistake(
    "a row where a column belongs",
    replace=[("share_a[:, None]", "share_a"), ("share_b[:, None]", "share_b"), ("total[:, None]", "total")],
    caught_by=two_parts_of_a_row,
    nudge="One share for each row of the outputs: `[:, None]` makes a column of it.",
)
merge.mistake(
    "all rows in one lse",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    lse = torch.logsumexp(torch.cat([lse_a, lse_b]), dim=0)
    return (lse_a - lse).exp()[:, None] * output_a + (lse_b - lse).exp()[:, None] * output_b, lse
""",
    caught_by=two_parts_of_a_row,
    nudge="`torch.cat` puts the rows of both parts into one long line, and you sum over all of them. Each row has its "
    "own lse: `torch.stack` keeps them apart.",
)
merge.mistake(
    "parts of the joint lse",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    lse = torch.logaddexp(lse_a, lse_b)
    return (lse_a / lse)[:, None] * output_a + (lse_b / lse)[:, None] * output_b, lse
""",
    caught_by=two_parts_of_a_row,
    nudge="A ratio of logarithms. The share of a part is the ratio of the sums: exp(lse of the part - lse of both).",
)
merge.mistake(
    "the larger of two tensors by Python",
    replace=[("torch.maximum(lse_a, lse_b)", "max(lse_a, lse_b)")],
    caught_by=two_parts_of_a_row,
    nudge="Python's `max` asks which of two tensors is larger as a whole. `torch.maximum` compares row by row.",
)
merge.mistake(
    "keeps the column",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    lse_a, lse_b = lse_a[:, None], lse_b[:, None]
    lse = torch.logaddexp(lse_a, lse_b)
    return (lse_a - lse).exp() * output_a + (lse_b - lse).exp() * output_b, lse
""",
    caught_by=two_parts_of_a_row,
    nudge="The outputs are right, and your lse is a column, [rows, 1]. One number for each row is wanted: [rows].",
)
merge.mistake(
    "output alone",
    replace=[("return output, largest + total.log()", "return output")],
    caught_by=two_parts_of_a_row,
    nudge="The lse of both together is wanted, too: with it the result can be merged with a third part.",
)
merge.mistake(
    "weighs by the difference from part b",
    text="""
def merge(output_a, lse_a, output_b, lse_b):
    ratio = (lse_a - lse_b).exp()
    output = (ratio[:, None] * output_a + output_b) / (ratio + 1)[:, None]
    return output, lse_b + (ratio + 1).log()
""",
    caught_by=a_row_sees_nothing_of_a_part,
    nudge="Measured from lse_b, which is -inf where a row sees nothing of part b: the ratio is infinite there. Measure "
    "from the larger of both.",
)
merge.alternative(
    """
def merge(output_a, lse_a, output_b, lse_b):
    shares = torch.stack([lse_a, lse_b]).softmax(dim=0)
    output = shares[0].unsqueeze(1) * output_a + shares[1].unsqueeze(1) * output_b
    return output, torch.logaddexp(lse_a, lse_b)
"""
)
merge.alternative(
    """
def merge(output_a, lse_a, output_b, lse_b):
    lse = torch.logsumexp(torch.stack([lse_a, lse_b]), dim=0)
    return torch.exp(lse_a - lse)[:, None] * output_a + torch.exp(lse_b - lse)[:, None] * output_b, lse
"""
)
