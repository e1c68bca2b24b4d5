"""Our engine as a system of the benchmark."""

from __future__ import annotations

import torch

from course.engine.benchmark.work import Timing, Work
from course.engine.local import LocalEngine
from course.engine.replay import serve
from course.model.config import benchmark_shape
from course.model.loading import Model
from course.model.transformer import Transformer
from course.model.weights import random_weights
from course.serving.schedulers import ChunkedPrefill
from course.workload.request import Request, Workload

BLOCK_SIZE = 32
CACHE_TOKENS = 32_768
TOKEN_BUDGET = 512
SLOTS = 64


class CourseSystem:
    """LocalEngine with chunked prefill and random weights of the benchmark's shape."""

    def __init__(self, model: str, dtype: torch.dtype, packed: bool) -> None:
        config = benchmark_shape(model)
        network = Transformer(config, random_weights(config), dtype=dtype, packed=packed)
        self.engine = LocalEngine(
            Model(model, network),
            ChunkedPrefill(token_budget=TOKEN_BUDGET, max_num_sequences=SLOTS),
            num_blocks=CACHE_TOKENS // BLOCK_SIZE,
            block_size=BLOCK_SIZE,
        )

    def run(self, work: Work) -> Timing:
        """Serve the work."""
        requests = [
            Request(i, 0.0, len(prompt), length, prompt=tuple(prompt))
            for i, (prompt, length) in enumerate(zip(work.prompts, work.output_lengths, strict=True))
        ]
        records = serve(self.engine, Workload(requests, dict(enumerate(work.output_lengths))))
        times = [list(record.token_times_s) for record in records]
        return Timing(max(t[-1] for t in times), times)
