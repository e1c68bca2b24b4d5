"""What Prometheus reads at /metrics, under vLLM's names where they mean the same.

The names and what they count: vLLM's documentation, "Metrics" (design/metrics). Ours begin with ``course:``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()

# Seconds, evenly spaced on a log scale: a step of the tiny model takes 3 ms, a queue at its limit a minute.
WAIT_BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.25, 2.5, 5, 10, 20, 40, 80, 160)
GAP_BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.012, 0.016, 0.024, 0.032, 0.048, 0.064, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
TOKEN_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)

HISTOGRAMS = {
    "ttft": ("vllm:time_to_first_token_seconds", "From a request's arrival to its first token.", WAIT_BUCKETS),
    "gap": ("vllm:inter_token_latency_seconds", "Between two tokens of an answer.", GAP_BUCKETS),
    "tpot": (
        "vllm:request_time_per_output_token_seconds",
        "(last - first token) / (tokens - 1) of an answer.",
        GAP_BUCKETS,
    ),
    "e2e": ("vllm:e2e_request_latency_seconds", "From a request's arrival to its last token.", WAIT_BUCKETS),
    "queue": ("vllm:request_queue_time_seconds", "Until the first step with the prompt began.", WAIT_BUCKETS),
    "prefill": ("vllm:request_prefill_time_seconds", "From there to the first token.", WAIT_BUCKETS),
    "decode": ("vllm:request_decode_time_seconds", "From an answer's first to its last token.", WAIT_BUCKETS),
    "inference": ("vllm:request_inference_time_seconds", "Prefill and decode time together.", WAIT_BUCKETS),
    "prompt": ("vllm:request_prompt_tokens", "Tokens of a prompt.", TOKEN_BUCKETS),
    "output": ("vllm:request_generation_tokens", "Tokens of an answer.", TOKEN_BUCKETS),
    "max_tokens": ("vllm:request_params_max_tokens", "Tokens that an answer might have had.", TOKEN_BUCKETS),
}
COUNTERS = {
    "prompt_tokens": ("vllm:prompt_tokens", "Tokens of all prompts that were let in."),
    "output_tokens": ("vllm:generation_tokens", "Tokens of all answers."),
    "num_preemptions": ("vllm:num_preemptions", "How often an answer lost its place on a device."),
    "prefix_queries": ("vllm:prefix_cache_queries", "Tokens of prompts that were looked up in the prefix cache."),
    "prefix_hits": ("vllm:prefix_cache_hits", "Tokens of prompts that were found there."),
}
GAUGES = {
    "num_running": ("vllm:num_requests_running", "Answers that are being computed."),
    "num_waiting": ("vllm:num_requests_waiting", "Answers that wait for their first step."),
    "kv_usage": ("vllm:kv_cache_usage_perc", "Share of the KV cache that is in use, 0 to 1."),
    "kv_blocks_used": ("course:kv_blocks_used", "Blocks of KV cache that are held, over all workers."),
}
# Where there are several workers.
MORE_GAUGES = {
    "workers": ("course:workers", "Workers that are ready."),
    "num_held": ("course:num_requests_held", "Prompts that are computed and wait for a worker that decodes."),
}
MORE_COUNTERS = {
    "workers_lost": ("course:workers_lost", "Workers that ended, failed or hung."),
    "worker_restarts": ("course:worker_restarts", "Workers that took the place of a lost one."),
    "answers_recomputed": ("course:answers_recomputed", "Answers that lost computed tokens with a worker."),
    "tokens_recomputed": ("course:tokens_recomputed", "Those tokens."),
    "prefill_step_seconds": ("course:prefill_step_seconds", "Time in steps that computed prompts."),
    "decode_step_seconds": ("course:decode_step_seconds", "Time in all other steps."),
    "kv_transfers": ("course:kv_transfers", "Moves of keys and values from worker to worker."),
    "kv_transfers_failed": ("course:kv_transfers_failed", "Moves that did not come to their end."),
    "kv_transfer_bytes": ("course:kv_transfer_bytes", "Bytes moved."),
    "kv_transfer_copy_seconds": ("course:kv_transfer_copy_seconds", "Time that copying took."),
}


@dataclass(slots=True)
class Life:
    """What happened to one answer when (`time.perf_counter`).

    Its request was read at ``arrival_s`` and let into the engine at ``queued_s``; the first step with its prompt began
    at ``started_s``. What it loses later, for want of memory or with a worker, counts with the phase that is on.
    """

    arrival_s: float
    num_prompt_tokens: int
    max_tokens: int
    queued_s: float = 0.0
    started_s: float = 0.0
    first_s: float = 0.0
    last_s: float = 0.0
    num_tokens: int = 0


class Measures:
    """The metrics of one server, in a registry of its own."""

    def __init__(self, model: str) -> None:
        self._registry = CollectorRegistry()
        self._model = model
        self._histograms = {
            key: Histogram(name, text, ["model_name"], registry=self._registry, buckets=buckets).labels(model)
            for key, (name, text, buckets) in HISTOGRAMS.items()
        }
        self._counters = {
            key: Counter(name, text, ["model_name"], registry=self._registry).labels(model)
            for key, (name, text) in COUNTERS.items()
        }
        self._gauges = {key: self._gauge(name, text) for key, (name, text) in GAUGES.items()}
        self._ends = Counter(
            "vllm:request_success",
            "Answers that ended, by reason: stop, length, abort (the client left), error.",
            ["model_name", "finished_reason"],
            registry=self._registry,
        )
        self._rejected = Counter(
            "course:requests_rejected",
            "Requests that were not let in, by HTTP status.",
            ["status"],
            registry=self._registry,
        )
        self._seen: dict[str, float] = {}  # counters that the engine keeps, as they were read last

    def on_arrival(self, num_prompt_tokens: int) -> None:
        """A prompt was let in."""
        self._counters["prompt_tokens"].inc(num_prompt_tokens)

    def on_tokens(self, life: Life, num_tokens: int, time_s: float) -> None:
        """Tokens of an answer have come."""
        if not life.num_tokens:
            life.first_s = time_s
            self._histograms["ttft"].observe(time_s - life.arrival_s)
        else:
            self._histograms["gap"].observe(time_s - life.last_s)
        life.last_s = time_s
        life.num_tokens += num_tokens
        self._counters["output_tokens"].inc(num_tokens)

    def on_end(self, life: Life, reason: str) -> None:
        """An answer has ended."""
        self._ends.labels(self._model, reason).inc()
        if reason not in ("stop", "length"):
            return
        measured = {
            "e2e": life.last_s - life.arrival_s,
            "queue": life.started_s - life.queued_s,
            "prefill": life.first_s - life.started_s,
            "decode": life.last_s - life.first_s,
            "inference": life.last_s - life.started_s,
            "prompt": life.num_prompt_tokens,
            "output": life.num_tokens,
            "max_tokens": life.max_tokens,
        }
        if life.num_tokens > 1:
            measured["tpot"] = (life.last_s - life.first_s) / (life.num_tokens - 1)
        for key, value in measured.items():
            self._histograms[key].observe(value)

    def on_rejection(self, status: int) -> None:
        """A request was not let in."""
        self._rejected.labels(str(status)).inc()

    def page(self, gauges: dict[str, float], counters: dict[str, float]) -> bytes:
        """The metrics as text, with what the engine says of itself now."""
        for key, value in gauges.items():
            if key not in self._gauges:
                self._gauges[key] = self._gauge(*MORE_GAUGES[key])
            self._gauges[key].set(value)
        for key, value in counters.items():
            if key not in self._counters:
                name, text = MORE_COUNTERS[key]
                self._counters[key] = Counter(name, text, ["model_name"], registry=self._registry).labels(self._model)
            self._counters[key].inc(value - self._seen.get(key, 0.0))
            self._seen[key] = value
        return generate_latest(self._registry)

    def _gauge(self, name: str, text: str) -> Any:
        return Gauge(name, text, ["model_name"], registry=self._registry).labels(self._model)
