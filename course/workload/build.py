"""From the rows of a trace to a Workload of Requests.

Three things may happen on the way: the lengths are scaled into a model's context, time is
compressed, and every client declares a limit for its answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from course.errors import UserError
from course.workload.prompts import block_hashes
from course.workload.request import Request, Workload
from course.workload.traces.row import TraceRow

MIN_DECLARED_TOKENS = 16


class FittedRows(NamedTuple):
    """Rows that fit a context: ``factor`` scaled all, those at the indices ``clipped`` were cut beyond it."""

    rows: list[TraceRow]
    factor: float
    clipped: list[int]


def fit_to_context(rows: Sequence[TraceRow], context_tokens: int) -> FittedRows:
    """Scale prompts and outputs by one factor so that the 95th percentile of their sum fits.

    The factor is ``context_tokens`` / p95(prompt + output), never above 1: the shape of the
    trace survives, only smaller. Sums round down, so every row up to the 95th percentile fits;
    the few above it are clipped to the context, keep their ratio of prompt to output, and are
    counted. Every row keeps at least one token of each. What prompts share is scaled with them.

    Args:
        rows: at least one row.
        context_tokens: tokens that prompt and output may have together, at least 2.

    Raises:
        UserError: when there are no rows or the context is smaller than 2 tokens.
    """
    if not rows:
        raise UserError("the trace has no rows, so nothing can be scaled; give a trace with at least one request")
    if context_tokens < 2:
        raise UserError(f"a context of {context_tokens} tokens cannot hold a prompt and an answer; give at least 2")
    totals = np.array([row.num_prompt_tokens + row.num_output_tokens for row in rows])
    factor = min(1.0, context_tokens / float(np.percentile(totals, 95)))
    fitted = [_scaled(row, factor, context_tokens) for row in rows]
    # 1e-9: p95 * (context / p95) may fall a hair above or below the context.
    clipped = np.flatnonzero(np.floor(totals * factor + 1e-9) > context_tokens)
    return FittedRows(fitted, factor, clipped.tolist())


def _scaled(row: TraceRow, factor: float, context_tokens: int) -> TraceRow:
    before = row.num_prompt_tokens + row.num_output_tokens
    total = max(2, min(context_tokens, math.floor(before * factor + 1e-9)))
    share = min(factor, context_tokens / before)
    num_prompt_tokens = min(max(1, round(row.num_prompt_tokens * share)), total - 1)
    return replace(
        row,
        num_prompt_tokens=num_prompt_tokens,
        num_output_tokens=total - num_prompt_tokens,
        hash_block_tokens=row.hash_block_tokens * factor,
    )


def declared_tokens(num_output_tokens: int) -> int:
    """Return what a client would declare as ``max_new_tokens`` for an answer of that length.

    Clients do not know the length and write a round number above what they expect: the rule is
    the next power of two, at least 16 (real 141 → declared 256). It is also the "Pow2"
    reservation that the vLLM paper (SOSP'23, section 6.1) grants to Orca.
    """
    return max(MIN_DECLARED_TOKENS, 1 << (num_output_tokens - 1).bit_length())


def with_arrivals(rows: Sequence[TraceRow], arrivals_s: ArrayLike) -> list[TraceRow]:
    """Give rows new arrival times (seconds), for instance Poisson ones to a file of lengths only.

    Raises:
        UserError: when there are not as many times as rows.
    """
    times = np.asarray(arrivals_s, dtype=float).tolist()
    if len(times) != len(rows):
        raise UserError(f"{len(rows)} rows need as many arrival times, got {len(times)}; draw {len(rows)} of them")
    return [replace(row, arrival_s=time_s) for row, time_s in zip(rows, times, strict=True)]


def rows_from(arrivals_s: ArrayLike, prompt_tokens: ArrayLike, output_tokens: ArrayLike) -> list[TraceRow]:
    """Join drawn arrival times (seconds) and lengths (tokens) into rows.

    Raises:
        UserError: when the three have different lengths, or hold what no trace may hold.
    """
    times = np.asarray(arrivals_s, dtype=float).tolist()
    prompts = np.asarray(prompt_tokens).tolist()
    outputs = np.asarray(output_tokens).tolist()
    if not len(times) == len(prompts) == len(outputs):
        raise UserError(
            f"{len(times)} arrival times, {len(prompts)} prompts and {len(outputs)} outputs do not match; "
            "draw the same number of each"
        )
    return [TraceRow(*row) for row in zip(times, prompts, outputs, strict=True)]


def build_workload(
    rows: Sequence[TraceRow],
    *,
    limit: int | None = None,
    speed: float = 1.0,
    context_tokens: int | None = None,
    stop_tokens: int | None = None,
    extra_output_tokens: int = 0,
    max_new_tokens: int | Literal["exact"] | None = None,
    block_size: int = 16,
) -> Workload:
    """Turn trace rows into a workload; request ids count from 0 in order of arrival.

    Args:
        rows: the trace; sorted here by arrival (rows of equal time keep their order).
        limit: take only that many rows from the start; the scaling looks at these alone.
        speed: divide arrival times by it (2.0: the same requests in half the time).
        context_tokens: scale the lengths with ``fit_to_context``; None leaves them alone.
        stop_tokens: an answer ends when it and its prompt have so many tokens together, as at the
            end of a model's context; those that end so are counted as clipped. A prompt of that
            length or more has an answer of one token.
        extra_output_tokens: for lists that count only what follows the first token.
        max_new_tokens: what every client declares; longer answers are cut to it and counted as
            clipped. None: each client declares ``declared_tokens(real length)``, capped at what
            the context leaves. "exact": the real length, as if clients knew it.
        block_size: tokens per prefix hash of a request (the block size of the pool that will
            look them up); plays no role for rows that share nothing.

    Raises:
        UserError: for no rows, or a limit, speed, context, declared length or block size out of range.
    """
    _check_options(rows, limit, speed, None if max_new_tokens == "exact" else max_new_tokens, block_size)
    chosen = sorted(rows, key=attrgetter("arrival_s"))[:limit]
    factor, clipped = 1.0, set[int]()
    if context_tokens is not None:
        fitted = fit_to_context(chosen, context_tokens)
        chosen, factor, clipped = fitted.rows, fitted.factor, set(fitted.clipped)
    most = min((tokens for tokens in (context_tokens, stop_tokens) if tokens is not None), default=None)
    requests: list[Request] = []
    output_lengths: list[int] = []
    for index, row in enumerate(chosen):
        num_prompt_tokens, num_output_tokens = row.num_prompt_tokens, row.num_output_tokens + extra_output_tokens
        if max_new_tokens == "exact":
            declared = num_output_tokens
        else:
            declared = max_new_tokens or declared_tokens(num_output_tokens)
        if most is not None:
            declared = min(declared, max(1, most - num_prompt_tokens))
        if num_output_tokens > declared:
            num_output_tokens = declared
            clipped.add(index)
        hashes = block_hashes(row, block_size, request_id=index) if row.prefix_hashes else ()
        arrival_s = row.arrival_s / speed
        requests.append(Request(index, arrival_s, num_prompt_tokens, declared, None, 1, row.client, 0, hashes))
        output_lengths.append(num_output_tokens)
    shares = any(row.prefix_hashes for row in chosen)
    lengths = dict(enumerate(output_lengths))
    return Workload(requests, lengths, len(clipped), factor, block_size if shares else 0)


def _check_options(
    rows: Sequence[TraceRow], limit: int | None, speed: float, max_new_tokens: int | None, block_size: int
) -> None:
    if not rows:
        raise UserError("the trace has no rows, so there is nothing to serve; give one with at least one request")
    if limit is not None and limit < 1:
        raise UserError(f"limit must be at least 1 request, got {limit}; leave it out to take the whole trace")
    if not (math.isfinite(speed) and speed > 0):
        raise UserError(f"speed must be a positive number, got {speed}; 1 is the pace of the trace, 2 twice it")
    if max_new_tokens is not None and max_new_tokens < 1:
        raise UserError(f"max_new_tokens must be at least 1, got {max_new_tokens}; leave it out for the default")
    if block_size < 1:
        raise UserError(f"block_size must be at least 1 token, got {block_size}; 16 is usual")
