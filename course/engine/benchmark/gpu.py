"""What a GPU reaches, and what the engine makes of it: decode steps beside a copy, prefills beside a matrix product.

A decode step must read the weights and the cached keys and values once; a prefill must multiply. So the yardsticks are
what the same card reaches in the same minute on a device copy (bytes read and written) and on a large bfloat16 product.
Random weights: arithmetic takes as long with any numbers.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from course.engine.forward import GraphedForwardPass, forward_pass
from course.errors import UserError
from course.model.config import ModelConfig, default_rope
from course.model.packing import Chunk
from course.model.transformer import Transformer
from course.model.weights import random_weights

BLOCK_SIZE = 16
BATCHES = (1, 8, 32, 128)
CONTEXTS = (512, 2048)
PROMPTS = (512, 2048, 8192)

Row = dict[str, float]


def llama_1b() -> ModelConfig:
    """The shape of Llama 3.2 1B (config.json of meta-llama/Llama-3.2-1B), with plain RoPE."""
    return ModelConfig(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_layers=16,
        num_heads=32,
        num_kv_heads=8,
        head_dim=64,
        max_context=131_072,
        rope_inverse_frequencies=default_rope(64, 500_000.0),
        tied_embeddings=True,
    )


@dataclass
class Subject:
    """A model in bfloat16 on a GPU, with a cache and scattered blocks to take from it."""

    config: ModelConfig = field(default_factory=llama_1b)
    num_tokens: int = 128 * (2048 + BLOCK_SIZE) + 32_768
    device: str = "cuda"

    def __post_init__(self) -> None:
        weights = random_weights(self.config, device=self.device, dtype=torch.bfloat16)
        self.network = Transformer(self.config, weights, dtype=torch.bfloat16, device=self.device)
        self.cache = self.network.new_cache(self.num_tokens // BLOCK_SIZE, BLOCK_SIZE)
        self.cache.blocks.normal_()
        self.forward = forward_pass(self.network, self.cache)
        self._free = random.Random(0).sample(range(self.cache.num_blocks), self.cache.num_blocks)

    @contextmanager
    def chunks(self, *shapes: tuple[int, int]) -> Iterator[list[Chunk]]:
        """A chunk for each (tokens in the cache, tokens to compute); its blocks are free again afterwards."""
        taken = []
        for start, num_tokens in shapes:
            table = [self._free.pop() for _ in range(-(-(start + num_tokens) // BLOCK_SIZE))]
            taken.append(Chunk([i % 1000 for i in range(num_tokens)], start, table))
        yield taken
        for chunk in taken:
            self._free += chunk.block_table

    @property
    def weight_bytes(self) -> int:
        """Weights that a decode step reads: all matrices, of a tied embedding its use as the last of them."""
        return 2 * (self.layer_weights * self.config.num_layers + self.config.vocab_size * self.config.hidden_size)

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of a layer."""
        c = self.config
        heads = c.num_heads * c.head_dim
        return c.hidden_size * (2 * heads + 2 * c.num_kv_heads * c.head_dim) + 3 * c.hidden_size * c.intermediate_size

    def prefill_flops(self, start: int, num_tokens: int) -> float:
        """What must be computed for a prompt of which one row is sampled; the last layer needs one row of its rest."""
        c = self.config
        keys_values = 2 * c.num_kv_heads * c.head_dim
        queries = c.num_heads * c.head_dim
        pairs = num_tokens * start + num_tokens * (num_tokens + 1) / 2
        full = 2 * self.layer_weights * num_tokens + 4 * queries * pairs
        last = 2 * c.hidden_size * (queries + keys_values) * num_tokens
        return (c.num_layers - 1) * full + last + 2 * c.hidden_size * c.vocab_size


def peak_rates() -> Row:
    """Bytes/s of a copy (read and written), bytes/s of reading, and FLOP/s of an 8192-wide bfloat16 product."""
    source, target = torch.randn(2, 2**29, device="cuda", dtype=torch.bfloat16)
    copy_s = device_s(lambda: target.copy_(source))
    read_s = device_s(lambda: torch.sum(source))
    left, right = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.bfloat16)
    product_s = device_s(lambda: left @ right)
    num_bytes = source.numel() * source.element_size()
    return {
        "copy_bytes_s": 2 * num_bytes / copy_s,
        "read_bytes_s": num_bytes / read_s,
        "gemm_flops_s": 2 * 8192**3 / product_s,
    }


def decode_row(subject: Subject, batch: int, context: int, copy_bytes_s: float) -> Row:
    """A decode step of ``batch`` sequences with ``context`` tokens each in the cache.

    ``device_s`` is the graph alone, ``graph_s`` and ``eager_s`` are whole steps from lists of block numbers to the
    chosen tokens in the processor's memory, with the graph and without.
    """
    forward = subject.forward
    assert isinstance(forward, GraphedForwardPass)
    kv_bytes = batch * context * subject.config.kv_bytes_per_token(2)
    with subject.chunks(*[(context - 1, 1)] * batch) as chunks:
        forward(chunks)
        alone_s = device_s(lambda: forward.replay(batch))
        graph_s = host_s(lambda: forward(chunks).argmax(-1).tolist())
        eager_s = host_s(lambda: super(GraphedForwardPass, forward).__call__(chunks).argmax(-1).tolist())
    num_bytes = subject.weight_bytes + kv_bytes
    return {
        "batch": batch,
        "context": context,
        "device_s": alone_s,
        "graph_s": graph_s,
        "eager_s": eager_s,
        "bytes": num_bytes,
        "share_of_copy": num_bytes / alone_s / copy_bytes_s,
    }


def prefill_row(subject: Subject, num_tokens: int, gemm_flops_s: float, start: int = 0) -> Row:
    """A prompt of ``num_tokens`` behind ``start`` cached ones; from lists of numbers to the first token."""
    with subject.chunks((start, num_tokens)) as chunks:
        seconds = host_s(lambda: subject.forward(chunks).argmax(-1).tolist())
    flops = subject.prefill_flops(start, num_tokens)
    return {
        "start": start,
        "tokens": num_tokens,
        "step_s": seconds,
        "flops": flops,
        "share_of_gemm": flops / seconds / gemm_flops_s,
    }


def interference(subject: Subject, prompt: int = 8192, batch: int = 16, context: int = 1024) -> list[Row | dict]:
    """Gaps between the tokens of running streams while one long prompt is prefilled, in four ways on one GPU.

    ``alone``: nothing is prefilled. ``whole``: the prompt joins one step. ``chunks of n``: it joins several, n tokens
    each. ``beside``: its prefill runs on a CUDA stream of its own, as a prefill worker on the same GPU would, while the
    decode graphs go on; ``beside, decode first`` with a higher priority for decode's stream.
    """
    rows: list[Row | dict] = []
    decodes = [(context - 1, 1)] * batch
    with subject.chunks(*decodes) as running, subject.chunks((0, prompt)) as [whole]:

        def step(*more: Chunk) -> float:
            start_s = time.perf_counter()
            subject.forward([*running, *more]).argmax(-1).tolist()
            return time.perf_counter() - start_s

        def note(name: str, gaps_s: list[float], prefill_s: float) -> None:
            rows.append(
                {
                    "way": name,
                    "num_steps": len(gaps_s),
                    "gap_p50_s": statistics.median(gaps_s),
                    "gap_max_s": max(gaps_s),
                    "prefill_s": prefill_s,
                }
            )

        for _ in range(3):
            step(), step(whole)
        note("alone", [step() for _ in range(50)], 0.0)
        gap_s = min(step(whole) for _ in range(3))
        note("whole", [gap_s], gap_s)
        for size in (512, 2048):
            pieces = [
                Chunk(whole.token_ids[at : at + size], at, whole.block_table, at + size >= prompt)
                for at in range(0, prompt, size)
            ]
            for _ in range(2):  # the first pass compiles what it needs
                gaps_s = [step(piece) for piece in pieces]
            note(f"chunks of {size}", gaps_s, sum(gaps_s))
        for name, priority in (("beside", 0), ("beside, decode first", -1)):
            other, own = torch.cuda.Stream(), torch.cuda.Stream(priority=priority)
            for _ in range(2):
                torch.cuda.synchronize()
                start_s, done = time.perf_counter(), torch.cuda.Event()
                with torch.cuda.stream(other):
                    super(GraphedForwardPass, subject.forward).__call__([whole])  # type: ignore[misc]
                    done.record()
                gaps_s, prefill_s = [], 0.0
                with torch.cuda.stream(own):
                    while not done.query():
                        gaps_s.append(step())
                prefill_s = time.perf_counter() - start_s
            note(name, gaps_s, prefill_s)
    return rows


def device_s(function: Callable[[], object], num_rounds: int = 20) -> float:
    """Median time on the GPU's own clock."""
    for _ in range(3):
        function()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(num_rounds)]
    for start, end in events:
        start.record()
        function()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in events) / 1e3


def host_s(function: Callable[[], object], num_rounds: int = 10) -> float:
    """Median time of a function that ends with its result in the processor's memory."""
    for _ in range(3):
        function()
    seconds = []
    for _ in range(num_rounds):
        torch.cuda.synchronize()
        start_s = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start_s)
    return statistics.median(seconds)


def check_gpu() -> None:
    """Raise UserError where there is no GPU to measure, or no Triton."""
    from course.model.kernels import are_usable

    if not torch.cuda.is_available():
        raise UserError("there is no CUDA GPU here; python -m course bench gpu measures one")
    if not are_usable("cuda", torch.bfloat16):
        raise UserError("Triton is not installed here; install it, or a torch for CUDA that brings it")
