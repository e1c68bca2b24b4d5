"""Orca's reservations: how much of the KV memory holds tokens, and how many requests run (vLLM, SOSP'23, figure 2).

The vLLM paper compares itself with three versions of Orca that set contiguous memory aside when a request is admitted:
for the longest sequence there is (Max), for the next power of two of the answer (Pow2), for the answer exactly
(Oracle). Its buddy allocator hands out powers of two. Here Orca's own scheduler runs; what the allocator rounds up is
declared with the request, so that the scheduler sets it aside, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from course.metrics.record import RequestRecord
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import Scheduler
from course.serving.schedulers import Orca, PrefillFirst
from course.simulator.costs.fitted import FittedCost
from course.simulator.reproduce.register import Entry, Row, number
from course.simulator.reservation import Use, power_of_two, set_aside
from course.simulator.virtual import VirtualDriver
from course.workload.arrivals import poisson_arrivals
from course.workload.lengths import Lengths, Lognormal, lognormal_lengths
from course.workload.request import Request, Workload

NUM_SLOTS = 15_700  # tokens that fit beside OPT-13B on an A100 with 40 GB (table 1)
BLOCK_SIZE = 16
CONTEXT = 2048
RATE = 2.0
NUM_REQUESTS = 600
# ShareGPT as the paper uses it has 161 prompt and 338 answer tokens in the mean (section 6.1). Its distribution is not
# published, so a lognormal stands in: mean = median * exp(sigma² / 2).
PROMPT = Lognormal(median=161.3 / np.exp(0.5), sigma=1.0, low=4, high=1024)
ANSWER = Lognormal(median=338.0 / np.exp(0.32), sigma=0.8, low=4, high=1024)


def serve(scheduler: Scheduler, lengths: Lengths, declared: Sequence[int], block_size: int) -> list[RequestRecord]:
    """Run them all on one GPU; ``declared[i]`` is what request i says of its answer."""
    arrivals_s = poisson_arrivals(NUM_REQUESTS, RATE).tolist()
    requests = [
        Request(i, arrivals_s[i], int(prompt), most)
        for i, (prompt, most) in enumerate(zip(lengths.prompt_tokens, declared, strict=True))
    ]
    outputs = dict(enumerate(lengths.output_tokens.tolist()))
    cluster = Cluster([Instance(scheduler, NUM_SLOTS // block_size, block_size)])
    return VirtualDriver(cluster, FittedCost("vllm-a100", "opt-13b")).run(Workload(requests, outputs)).records


def use_of(records: Sequence[RequestRecord], kept: Sequence[int], allocated: Sequence[int]) -> Use:
    """Averages over the second half of the arrivals, when the memory has filled.

    ``kept[i]`` and ``allocated[i]``: slots of request i before and after the allocator's rounding.
    """
    high_s = records[-1].arrival_s
    low_s = high_s / 2
    states = reserved = internal = other = batch = 0.0
    for record, mine, rounded in zip(records, kept, allocated, strict=True):
        times_s = np.clip(np.asarray(record.token_times_s), low_s, high_s)
        there_s = float(times_s[-1] - times_s[0])
        filled = float(np.dot(record.num_prompt_tokens + np.arange(1, len(times_s)), np.diff(times_s)))
        final = record.num_prompt_tokens + record.num_output_tokens
        states += filled
        reserved += final * there_s - filled
        internal += (mine - final) * there_s
        other += (rounded - mine) * there_s
        batch += there_s
    span_s = high_s - low_s
    whole = NUM_SLOTS * span_s
    return Use(
        states / whole, reserved / whole, internal / whole, 1 - (states + reserved + internal) / whole, batch / span_s
    )


def orca(version: str, lengths: Lengths) -> Use:
    """One version of Orca."""
    pairs = [(int(p), int(o)) for p, o in zip(*lengths, strict=True)]
    kept = [set_aside(version, p, o, CONTEXT) for p, o in pairs]
    allocated = [power_of_two(slots) for slots in kept]
    declared = [slots - p for slots, (p, _) in zip(allocated, pairs, strict=True)]
    return use_of(serve(Orca(max_num_sequences=256), lengths, declared, block_size=1), kept, allocated)


def paged(lengths: Lengths) -> Use:
    """vLLM: blocks of 16 tokens as they are needed; shares of the blocks in use instead of all memory."""
    declared = [CONTEXT - int(p) for p in lengths.prompt_tokens]
    records = serve(PrefillFirst(max_num_sequences=256), lengths, declared, BLOCK_SIZE)
    low_s, high_s = records[-1].arrival_s / 2, records[-1].arrival_s
    states = blocks = batch = 0.0
    for record in records:
        times_s = np.clip(np.asarray(record.token_times_s), low_s, high_s)
        filled = record.num_prompt_tokens + np.arange(1, len(times_s))
        states += float(np.dot(filled, np.diff(times_s)))
        blocks += float(np.dot(np.ceil(filled / BLOCK_SIZE) * BLOCK_SIZE, np.diff(times_s)))
        batch += float(times_s[-1] - times_s[0])
    return Use(states / blocks, 0.0, 1 - states / blocks, 0.0, batch / (high_s - low_s))


def rows(data: Path) -> list[Row]:
    """Token states, reservation, internal fragmentation and the rest, and the mean batch."""
    lengths = lognormal_lengths(NUM_REQUESTS, PROMPT, ANSWER)
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
        ours = orca(version, lengths)
        for field, name in names.items():
            share = 100 * getattr(theirs, field)
            if not share:
                continue
            found.append(
                number(f"Orca ({version.capitalize()}): {name}", share, 100 * getattr(ours, field), unit="%", within=4)
            )
        found.append(number(f"Orca ({version.capitalize()}): requests that run", theirs.batch, ours.batch, percent=10))
    vllm = paged(lengths)
    found.append(number("vLLM: token states in the blocks in use", 96.3, 100 * vllm.states, unit="%", within=4))
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
