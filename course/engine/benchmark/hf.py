"""Hugging Face transformers as systems of the benchmark: the same weights, the same answers."""

from __future__ import annotations

import time
from typing import Any

import torch

from course.engine.benchmark.work import Timing, Work
from course.model.config import ModelConfig, benchmark_shape
from course.model.weights import random_weights

# Of eight settings tried, the one that serves transformers best on this work: its attention compares
# every request's queries with the keys of all of them, so more at a time is slower.
SLOTS = 12


def hf_model(model: str, dtype: torch.dtype) -> Any:
    """The benchmark's random model in transformers, with its SDPA attention."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = benchmark_shape(model)
    network: Any = LlamaForCausalLM(_llama_config(LlamaConfig, config))
    network.to(dtype).eval()
    network.load_state_dict(random_weights(config))
    return network


def _llama_config(kind: type, config: ModelConfig) -> Any:
    return kind(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        max_position_embeddings=config.max_context,
        rms_norm_eps=config.rms_norm_eps,
        tie_word_embeddings=False,
        eos_token_id=None,
        bos_token_id=None,
        attn_implementation="sdpa",
    )


class GenerateSystem:
    """``generate`` on static batches of ``batch_size`` requests in order, padded on the left.

    A batch runs until its longest answer is complete; a request's tokens count as delivered
    when their step ends.
    """

    def __init__(self, model: str, dtype: torch.dtype, batch_size: int) -> None:
        self.network = hf_model(model, dtype)
        self.batch_size = batch_size

    def run(self, work: Work) -> Timing:
        """Serve the work, batch after batch."""
        start_s = time.perf_counter()
        times: list[list[float]] = []
        for first in range(0, len(work.prompts), self.batch_size):
            batch = slice(first, first + self.batch_size)
            step_times = self._generate(work.prompts[batch], max(work.output_lengths[batch]))
            times += [[t - start_s for t in step_times[:length]] for length in work.output_lengths[batch]]
        return Timing(time.perf_counter() - start_s, times)

    def _generate(self, prompts: list[list[int]], num_tokens: int) -> list[float]:
        """Greedy answers of ``num_tokens`` tokens; the time at which each step ended."""
        from transformers import GenerationConfig

        width = max(map(len, prompts))
        tokens = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        step_times: list[float] = []

        def note_time(input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
            step_times.append(time.perf_counter())
            return torch.zeros(len(input_ids), dtype=torch.bool)

        config = GenerationConfig(max_new_tokens=num_tokens, do_sample=False, pad_token_id=0)
        self.network.generate(tokens, attention_mask=mask, generation_config=config, stopping_criteria=[note_time])
        return step_times


class ContinuousSystem:
    """Continuous batching of transformers, kept warm between runs."""

    def __init__(self, model: str, dtype: torch.dtype) -> None:
        from transformers import ContinuousBatchingConfig, GenerationConfig

        self.network = hf_model(model, dtype)
        self.manager = self.network.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=256),
            continuous_batching_config=ContinuousBatchingConfig(
                num_blocks=128,
                page_size=256,
                max_batch_tokens=512,
                max_requests_per_batch=SLOTS,
                allow_block_sharing=False,
            ),
        )
        self.manager.start()
        self._num_runs = 0

    def run(self, work: Work) -> Timing:
        """Serve the work."""
        self._num_runs += 1
        start_s = time.perf_counter()
        for i, (prompt, length) in enumerate(zip(work.prompts, work.output_lengths, strict=True)):
            name = f"{self._num_runs}:{i}"
            self.manager.add_request(prompt, request_id=name, max_new_tokens=length, record_timestamps=True)
        times: list[list[float]] = [[] for _ in work.prompts]
        while not all(times):
            result = self.manager.get_result(timeout=600)
            if result is None or result.error:
                raise RuntimeError(f"transformers' continuous batching stopped: {result and result.error}")
            if result.is_finished():
                index = int(result.request_id.split(":")[1])
                times[index] = [t - start_s for t in result.timestamps]
        return Timing(time.perf_counter() - start_s, times)
