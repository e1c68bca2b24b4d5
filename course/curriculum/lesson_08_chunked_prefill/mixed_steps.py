"""How long a step takes that holds decodes and a chunk of a prompt: measured on a GPU, since nobody has published it.

``python -m course.curriculum.lesson_08_chunked_prefill.mixed_steps OUT.json`` records the steps anew, on a CUDA device
with 60 GB of free memory, in about a minute. ``mixed_steps.json`` is what the lesson shows: the mean of two recordings.

The network has the shape of OPT-13B (40 layers, hidden 5120, 40 heads of 128, feed-forward 20480) and random weights
in bfloat16: arithmetic takes as long with any numbers. A step is one forward pass, replayed as a CUDA graph, so that
what is measured is the GPU and not the calling of operators. Left out: sampling, paging of the cache, scheduling.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

LAYERS, HIDDEN, HEADS, HEAD_DIM, FFN, VOCABULARY = 40, 5120, 40, 128, 20480, 50272
FILE = Path(__file__).with_name("mixed_steps.json")
REPLAYS = 15


class MixedStep(NamedTuple):
    """``num_decodes`` sequences with ``context`` cached tokens each; ``chunk`` tokens of a prompt behind ``start``."""

    num_decodes: int
    context: int
    start: int
    chunk: int


def default_steps() -> list[MixedStep]:
    """Chunks of growing size beside 0, 16 and 64 decodes; and the chunks of a prompt of 2,048 tokens, alone."""
    sizes = (0, 16, 32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 2048)
    beside = [MixedStep(num, 512, 0, size) for num in (0, 16, 64) for size in sizes if num or size]
    alone = [MixedStep(0, 512, start, size) for size in (64, 128, 256, 512, 1024) for start in range(0, 2048, size)]
    return list(dict.fromkeys(beside + alone))


class Network:
    """The layers of the network, and a cache for decodes and one prompt."""

    def __init__(
        self, most_decodes: int, context: int, most_prompt: int, *, num_layers: int = LAYERS, device: str = "cuda"
    ) -> None:
        import torch

        numbers: dict[str, Any] = {"device": device, "dtype": torch.bfloat16}

        def matrix(rows: int, columns: int) -> Any:
            return torch.randn(rows, columns, **numbers) * 0.02

        def cache(num: int, room: int) -> Any:
            return torch.randn(2, num, HEADS, room, HEAD_DIM, **numbers)

        self.layers = [
            (matrix(HIDDEN, 3 * HIDDEN), matrix(HIDDEN, HIDDEN), matrix(HIDDEN, FFN), matrix(FFN, HIDDEN))
            for _ in range(num_layers)
        ]
        self.unembed = matrix(HIDDEN, VOCABULARY)
        self.decode_caches = [cache(most_decodes, context + 1) for _ in range(num_layers)]
        self.prompt_caches = [cache(1, most_prompt) for _ in range(num_layers)]

    def forward(self, step: MixedStep, x: Any) -> Any:
        """Vectors [decodes + chunk, HIDDEN] to logits, one row for each decode and one for the chunk."""
        import torch.nn.functional as F

        decodes = step.num_decodes
        for i, (qkv, out, up, down) in enumerate(self.layers):
            heads = (F.layer_norm(x, (HIDDEN,)) @ qkv).view(-1, 3, HEADS, HEAD_DIM)
            attended = self._attend(step, heads, self.decode_caches[i], self.prompt_caches[i])
            x = x + attended @ out
            x = x + F.relu(F.layer_norm(x, (HIDDEN,)) @ up) @ down
        rows = x[: decodes + 1] if step.chunk else x
        return F.layer_norm(rows, (HIDDEN,)) @ self.unembed

    def _attend(self, step: MixedStep, heads: Any, decode_cache: Any, prompt_cache: Any) -> Any:
        import torch
        import torch.nn.functional as F
        from torch.nn.attention.bias import causal_lower_right

        num, parts = step.num_decodes, []
        if num:
            queries, keys, values = heads[:num, :, :, None].unbind(1)
            decode_cache[0, :num, :, -1:], decode_cache[1, :num, :, -1:] = keys, values
            found = F.scaled_dot_product_attention(queries, decode_cache[0, :num], decode_cache[1, :num])
            parts.append(found.reshape(num, HIDDEN))
        if step.chunk:
            queries, keys, values = heads[num:].permute(1, 2, 0, 3)[:, None].unbind(0)
            end = step.start + step.chunk
            prompt_cache[0, :, :, step.start : end], prompt_cache[1, :, :, step.start : end] = keys, values
            seen = prompt_cache[:, :, :, :end]
            mask = causal_lower_right(step.chunk, end)
            found = F.scaled_dot_product_attention(queries, seen[0], seen[1], attn_mask=mask)
            parts.append(found[0].transpose(0, 1).reshape(step.chunk, HIDDEN))
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def timed(network: Network, step: MixedStep) -> Callable[[], float]:
    """A function that runs the step once more and says how long it took, in seconds."""
    import torch

    x = torch.randn(step.num_decodes + step.chunk, HIDDEN, device="cuda", dtype=torch.bfloat16)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        network.forward(step, x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network.forward(step, x)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def run() -> float:
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1e3

    return run


def record(steps: Iterable[MixedStep]) -> dict[str, Any]:
    """The median time of each step, and the conditions."""
    import torch

    rows = []
    with torch.inference_mode():
        network = Network(64, 512, 2048)
        for step in steps:
            run = timed(network, step)
            run()
            rows.append([*step, round(1e3 * median(run() for _ in range(REPLAYS)), 4)])
            del run
    conditions = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "dtype": "bfloat16"}
    return {"conditions": conditions | {"replays": REPLAYS}, "columns": [*MixedStep._fields, "ms"], "steps": rows}


def load() -> tuple[dict[str, Any], dict[MixedStep, float]]:
    """Conditions of the recording, and the seconds of each step."""
    table = json.loads(FILE.read_text(encoding="utf-8"))
    return table["conditions"], {MixedStep(*row[:-1]): row[-1] / 1e3 for row in table["steps"]}


if __name__ == "__main__":
    table = record(default_steps())
    lines = [f'  "{key}": {json.dumps(table[key])}' for key in ("conditions", "columns")]
    steps_text = ",\n    ".join(json.dumps(row) for row in table["steps"])
    Path(sys.argv[1]).write_text("{\n" + ",\n".join([*lines, f'  "steps": [\n    {steps_text}\n  ]']) + "\n}\n")
