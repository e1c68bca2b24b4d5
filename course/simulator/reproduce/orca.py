"""Orca's reservations: how much of the KV memory holds tokens, and how many requests run (vLLM, SOSP'23, figure 2).

The vLLM paper compares itself with three versions of Orca that set contiguous memory aside when a request is admitted:
for the longest sequence there is (Max), for the next power of two of the answer (Pow2), for the answer exactly
(Oracle). `course.simulator.reservation` serves the same requests in each of these ways.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from course.simulator.costs.fitted import FittedCost
from course.simulator.reproduce.register import Entry, Row, number
from course.simulator.reservation import WAYS, Room, Use, serve
from course.workload.arrivals import poisson_arrivals
from course.workload.lengths import Lognormal, lognormal_lengths

NUM_SLOTS = 15_700  # tokens that fit beside OPT-13B on an A100 with 40 GB (table 1)
BLOCK_SIZE = 16
CONTEXT = 2048
RATE = 2.0
NUM_REQUESTS = 600
# ShareGPT as the paper uses it has 161 prompt and 338 answer tokens in the mean (section 6.1). Its distribution is not
# published, so a lognormal stands in: mean = median * exp(sigma² / 2).
PROMPT = Lognormal(median=161.3 / np.exp(0.5), sigma=1.0, low=4, high=1024)
ANSWER = Lognormal(median=338.0 / np.exp(0.32), sigma=0.8, low=4, high=1024)


def rows(data: Path) -> list[Row]:
    """Token states, reservation, internal fragmentation and the rest, and the mean batch."""
    lengths = lognormal_lengths(NUM_REQUESTS, PROMPT, ANSWER)
    arrivals_s = poisson_arrivals(NUM_REQUESTS, RATE).tolist()
    room, cost = Room(NUM_SLOTS, BLOCK_SIZE, CONTEXT), FittedCost("vllm-a100", "opt-13b")
    ours_of = {way: serve(way, lengths, arrivals_s, room, cost).use for way in WAYS}
    published = {
        "max": Use(0.204, 0.133, 0.573, 0.089, 7.00),
        "pow2": Use(0.268, 0.179, 0.136, 0.416, 9.81),
        "oracle": Use(0.382, 0.252, 0.0, 0.366, 13.62),
    }
    names = {
        "states": "token states",
        "reserved": "reservation",
        "internal": "internal fragmentation",
        "other": "other",
    }
    found: list[Row] = []
    for version, theirs in published.items():
        ours = ours_of[version]
        for field, name in names.items():
            share = 100 * getattr(theirs, field)
            if not share:
                continue
            found.append(
                number(f"Orca ({version.capitalize()}): {name}", share, 100 * getattr(ours, field), unit="%", within=4)
            )
        found.append(number(f"Orca ({version.capitalize()}): requests that run", theirs.batch, ours.batch, percent=10))
    vllm = ours_of["paged"]
    in_use = 100 * vllm.states / (vllm.states + vllm.internal)
    found.append(number("vLLM: token states in the blocks in use", 96.3, in_use, unit="%", within=4))
    found.append(
        number(
            "vLLM: requests that run",
            30.42,
            vllm.batch,
            percent=20,
            note="here memory is not full at this rate, so the number follows from the speed of the engine",
        )
    )
    return found


ENTRIES = (
    Entry(
        "orca-reservation",
        "vLLM, SOSP'23",
        "figures 2 and 13",
        f"OPT-13B on one A100-40GB, {NUM_SLOTS:,} slots, ShareGPT at {RATE:g} requests/s; lognormal lengths of the "
        "same means, vLLM's step times as DistServe fitted them",
        rows,
    ),
)
