"""Step times from first principles: every operator takes as long as its arithmetic or its bytes, whichever is longer.

The roofline of Williams et al. (CACM 2009) per operator, with overheads that no datasheet has: a constant per layer for
launching kernels, a constant per step for scheduling and sampling, an all-reduce after attention and after the
feed-forward part where tensor parallelism splits them, and a message between pipeline stages.
"""

from __future__ import annotations

from dataclasses import dataclass

from course.errors import UserError
from course.serving.batch import Batch
from course.simulator.hardware import Hardware
from course.simulator.links import Link, load_link
from course.simulator.operators import (
    attention_flops_per_pair,
    cache_bytes_per_token,
    elementwise_bytes_per_token,
    layer_products,
    logits_product,
)
from course.simulator.parallel import Split
from course.simulator.shapes import ModelShape


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What programs reach of the datasheet's rates, and what steps cost besides.

    The defaults stand for an engine of today that replays whole steps as CUDA graphs. docs/cost_models.md holds them,
    and `EAGER`, beside measurements.
    """

    compute: float = 0.7
    memory: float = 0.85
    layer_overhead_s: float = 2e-5
    step_overhead_s: float = 5e-4

    def __post_init__(self) -> None:
        if not (0 < self.compute <= 1 and 0 < self.memory <= 1):
            raise UserError(f"efficiencies must be above 0 and at most 1, got {self.compute} and {self.memory}")
        if self.layer_overhead_s < 0 or self.step_overhead_s < 0:
            raise UserError("overheads must be at least 0 s")


EAGER = Efficiency(compute=0.7, memory=0.75, layer_overhead_s=2e-4, step_overhead_s=1e-3)
"""An engine of 2024 that launches kernel after kernel: closest to DistServe's fitted A100 times."""

IDEAL = Efficiency(compute=1.0, memory=1.0, layer_overhead_s=0.0, step_overhead_s=0.0)
"""Nothing but the datasheet: no engine can be faster with the same arithmetic and bytes."""


class RooflineCost:
    """Step times of a model on ``tp`` * ``pp`` accelerators; ``link`` joins them (default: that of the hardware).

    Chunks of prompts and decodes of one step share every matrix product and attend separately. Batches of different
    length leave bubbles between pipeline stages: `batch_stage_s` says when the next batch may enter.
    """

    def __init__(
        self,
        shape: ModelShape,
        hardware: Hardware,
        tp: int = 1,
        pp: int = 1,
        link: Link | None = None,
        efficiency: Efficiency = Efficiency(),
    ) -> None:
        """Raises UserError for a split that the model's heads or layers do not allow."""
        self.shape, self.hardware, self.efficiency = shape, hardware, efficiency
        self.split = split = Split(shape, tp, pp)
        flops_s = hardware.flops_s * efficiency.compute
        bytes_s = hardware.memory_bandwidth_bytes_s * efficiency.memory
        self._layers = [
            (p.flops_per_token / flops_s, p.weight_bytes / bytes_s, p.bytes_per_token / bytes_s)
            for p in layer_products(split)
        ]
        logits = logits_product(split)
        self._logits = (
            logits.flops_per_token / flops_s,
            logits.weight_bytes / bytes_s,
            logits.bytes_per_token / bytes_s,
        )
        self._elementwise_s = elementwise_bytes_per_token(split) / bytes_s
        self._pair_s = attention_flops_per_pair(split) / flops_s
        self._cache_s = cache_bytes_per_token(split) / bytes_s
        self._decode_s = max(self._pair_s, self._cache_s)
        # Messages: constant and per token.
        self._reduce_s = self._message_s = 0.0
        self._reduce_token_s = self._message_token_s = 0.0
        if split.num_gpus > 1:
            self._add_communication(link or load_link(hardware.link))
        self._constant_s = shape.num_layers * (efficiency.layer_overhead_s + self._reduce_s)
        self._first_stage_share = split.stage_layers[0] / shape.num_layers
        self._last_stage_share = split.stage_layers[-1] / shape.num_layers

    def _add_communication(self, link: Link) -> None:
        vector_bytes = self.shape.hidden_size * self.shape.bytes_per_value
        tp, pp = self.split.tp, self.split.pp
        if tp > 1:
            self._reduce_s = 2 * link.all_reduce_s(0, tp)
            self._reduce_token_s = (
                2 * self.shape.num_layers * (link.all_reduce_s(vector_bytes, tp) - self._reduce_s / 2)
            )
        self._message_s = (pp - 1) * link.latency_s
        self._message_token_s = (pp - 1) * vector_bytes / tp / link.bandwidth_bytes_s

    def batch_s(self, batch: Batch) -> float:
        """One step, through all stages."""
        num_tokens, layers_s, logits_s = self._parts(batch)
        messages_s = self._message_s + self._message_token_s * num_tokens
        return self.efficiency.step_overhead_s + layers_s + logits_s + messages_s

    def batch_stage_s(self, batch: Batch) -> float:
        """How long the slowest stage is busy: the first has the most layers, the last computes the logits."""
        if self.split.pp == 1:
            return self.batch_s(batch)
        _, layers_s, logits_s = self._parts(batch)
        slowest_s = max(self._first_stage_share * layers_s, self._last_stage_share * layers_s + logits_s)
        return self.efficiency.step_overhead_s + slowest_s

    def decode_series_s(self, batch: Batch) -> tuple[float, float]:
        """Every step reads one cached token more per sequence; all else stays."""
        return self.batch_s(batch), self._decode_s * batch.num_decodes

    def _parts(self, batch: Batch) -> tuple[int, float, float]:
        """Tokens computed; seconds in all layers; seconds for the logits."""
        num_tokens = num_samples = batch.num_decodes
        attention_s = self._decode_s * (batch.num_decode_context_tokens + num_tokens)
        if batch.prompts:
            pairs = keys = 0
            for chunk in batch.prompts:
                new, start = chunk.num_tokens, chunk.start
                num_tokens += new
                keys += start + new
                pairs += new * start + new * (new + 1) // 2
                num_samples += bool(chunk.samples)
            attention_s += max(self._pair_s * pairs, self._cache_s * keys)
        if not num_tokens:
            return 0, 0.0, 0.0  # a step that only moves blocks
        seconds = self._constant_s + attention_s + (self._elementwise_s + self._reduce_token_s) * num_tokens
        for flops_s, weights_s, values_s in self._layers:
            compute_s, memory_s = flops_s * num_tokens, weights_s + values_s * num_tokens
            seconds += compute_s if compute_s > memory_s else memory_s
        if not num_samples:
            return num_tokens, seconds, 0.0
        flops_s, weights_s, values_s = self._logits
        return num_tokens, seconds, max(flops_s * num_samples, weights_s + values_s * num_samples)
