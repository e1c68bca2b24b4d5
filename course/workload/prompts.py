"""Which tokens and which block hashes a prompt has, so that both agree about what is shared.

A trace names the blocks of a prompt (512 tokens each in Mooncake's, fewer once a trace has been
scaled), a block pool uses smaller blocks (16 tokens, say). Token ``p`` of a prompt belongs to
trace block ``p // hash_block_tokens``, in every prompt alike; the rest follows from that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from course.errors import UserError
from course.workload.hashing import mix, mix_array
from course.workload.request import Request, Workload
from course.workload.traces.row import TraceRow

_OWN = 0x6F776E  # keeps what a request shares with nobody apart from what traces name


def block_hashes(row: TraceRow, block_size: int, request_id: int) -> tuple[int, ...]:
    """Return one chained hash per full block of ``block_size`` tokens of the prompt.

    The chained hash of a trace block stands for all tokens up to its end, so together with the
    position it names the pool block whose last token lies in it. Tokens that the trace does not
    name are the request's own. Empty when the row shares nothing.
    """
    if not row.prefix_hashes:
        return ()
    blocks = np.arange(row.num_prompt_tokens // block_size, dtype=np.uint64)
    last_tokens = (blocks + np.uint64(1)) * np.uint64(block_size) - np.uint64(1)
    names = _block_names(row.prefix_hashes, (last_tokens // row.hash_block_tokens).astype(np.int64), request_id)
    return tuple(mix_array(names ^ mix_array(blocks)).tolist())


def with_prompt_tokens(workload: Workload, vocab_size: int, seed: int = 0, first_token: int = 0) -> Workload:
    """Return the workload with token ids drawn for every prompt, uniform and seeded.

    Prompts that share a prefix hash hold the very same tokens up to the end of that block;
    everything else differs. The draw is a hash of (seed, block, position), so a prompt does not
    depend on which other requests the workload holds.

    Args:
        workload: its requests' ``prompt`` is replaced.
        vocab_size: ids are below it.
        seed: another seed, other tokens.
        first_token: ids below it are not drawn (special tokens usually come first).

    Raises:
        UserError: when there is no id between ``first_token`` and ``vocab_size``.
    """
    if not 0 <= first_token < vocab_size:
        raise UserError(f"no token ids between {first_token} and {vocab_size}; give a vocabulary that is larger")
    salt = np.uint64(mix(seed))
    span = np.uint64(vocab_size - first_token)
    requests = []
    for request in workload.requests:
        drawn = mix_array(_token_names(request, workload.block_size) ^ salt) % span + np.uint64(first_token)
        requests.append(replace(request, prompt=tuple(drawn.tolist())))
    return replace(workload, requests=requests)


def _token_names(request: Request, block_size: int) -> NDArray[np.uint64]:
    positions = np.arange(request.num_prompt_tokens, dtype=np.uint64)
    blocks = (positions // max(1, block_size)).astype(np.int64)
    return _block_names(request.prefix_hashes, blocks, request.id) ^ mix_array(positions)


def _block_names(hashes: tuple[int, ...], blocks: NDArray[np.int64], request_id: int) -> NDArray[np.uint64]:
    """Name of each block: its hash where one is known, else the request's own name."""
    own = mix(mix(_OWN) ^ request_id)
    known = np.array([*hashes, own], dtype=np.uint64)
    return known[np.minimum(blocks, len(hashes))]
