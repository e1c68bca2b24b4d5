"""What attention moves between a GPU's memory and its chip: with the whole score matrix, and tile by tile.

Counted for the causal attention of one head, in numbers (not bytes). FlashAttention (Dao et al., NeurIPS'22, arXiv
2205.14135) keeps a tile of keys on the chip and lets all queries pass; FlashAttention-2 (Dao, arXiv 2307.08691) keeps a
tile of queries and lets the keys pass. What caches between memory and chip catch is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

Order = Literal["keys stay", "queries stay"]
"""Which tile is held while the others pass: FlashAttention's loop order, FlashAttention-2's."""


class Tile(NamedTuple):
    """A tile of the score matrix: the rows and the columns that it has, as (first, behind the last)."""

    queries: tuple[int, int]
    keys: tuple[int, int]


class Work(NamedTuple):
    """Of one head: numbers moved, and FLOPs inside and outside of matrix products."""

    moved: int
    matmul_flops: int
    other_flops: int


def tiles_in_order(num_tokens: int, tile: int, order: Order = "queries stay") -> Iterator[Tile]:
    """The tiles that hold a score which may be seen, in the order in which they are computed."""
    starts = range(0, num_tokens, tile)

    def span(start: int) -> tuple[int, int]:
        return start, min(start + tile, num_tokens)

    for outer in starts:
        if order == "queries stay":
            yield from (Tile(span(outer), span(left)) for left in starts if left <= outer)
        else:
            yield from (Tile(span(top), span(outer)) for top in starts if top >= outer)


def whole_matrix(num_tokens: int, head_dim: int) -> Work:
    """Three steps, each of which reads and writes memory: scores, softmax, mean of the values; hidden scores included.

    Outside of products, each score is scaled, compared, subtracted from, exponentiated, added and divided.
    """
    square = num_tokens**2
    return Work(4 * num_tokens * head_dim + 4 * square, 4 * square * head_dim, 6 * square)


def tiled(num_tokens: int, head_dim: int, tile: int, order: Order = "queries stay") -> Work:
    """The numbers that tiles of ``tile`` x ``tile`` scores move, and their arithmetic.

    Each tile scales, compares, subtracts, exponentiates and adds its scores, and rescales the outputs of its queries.
    With ``keys stay`` it also divides them by the sum, as FlashAttention does; FlashAttention-2 divides once.
    """
    moved = matmul = other = 0
    for start in range(0, num_tokens, tile):
        end = min(start + tile, num_tokens)
        stays, passes = end - start, end if order == "queries stay" else num_tokens - start
        matmul += 4 * stays * passes * head_dim
        other += 5 * stays * passes
        if order == "queries stay":
            num_tiles = start // tile + 1
            moved += 2 * passes * head_dim  # keys and values
            other += (num_tiles + 1) * stays * head_dim  # rescales with each tile, divides once
        else:
            moved += 3 * passes * head_dim + 4 * passes  # query and output in, output out; maximum and sum in and out
            other += 2 * passes * head_dim
    return Work(moved + 2 * num_tokens * head_dim, matmul, other)


def on_chip(tile: int, head_dim: int) -> int:
    """Numbers that are on the chip at once: tiles of queries, keys, values and outputs, and the tile of scores."""
    return 4 * tile * head_dim + tile**2
