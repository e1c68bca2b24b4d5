"""Models in two guises: ours, and the same weights in transformers."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from course.model.config import ModelConfig
from course.model.weights import Weights, random_weights

torch.set_num_threads(1)

COMMON = {
    "vocab_size": 211,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**COMMON, num_key_value_heads=2)),
    "llama-tied": (
        LlamaForCausalLM,
        LlamaConfig(**COMMON | {"tie_word_embeddings": True}, num_key_value_heads=6),
    ),
    "llama-biased": (
        LlamaForCausalLM,
        LlamaConfig(**COMMON, num_key_value_heads=1, attention_bias=True, mlp_bias=True, head_dim=16),
    ),
    "llama3-rope": (LlamaForCausalLM, LlamaConfig(**COMMON, num_key_value_heads=3, rope_parameters=LLAMA3_ROPE)),
    "yarn-rope": (LlamaForCausalLM, LlamaConfig(**COMMON, num_key_value_heads=3, rope_parameters=YARN)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**COMMON, num_key_value_heads=2)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**COMMON, num_key_value_heads=2, head_dim=32)),
}


def build(name: str, dtype: torch.dtype = torch.float32) -> tuple[ModelConfig, Weights, torch.nn.Module]:
    """Our config, random weights, and transformers' model holding those weights."""
    kind, hf_config = FAMILIES[name]
    config = ModelConfig.from_hugging_face(hf_config)
    weights = random_weights(config, seed=1)
    return config, weights, load_into(kind, hf_config, weights, dtype)


def load_into(
    kind: type[torch.nn.Module], hf_config: PreTrainedConfig, weights: Weights, dtype: torch.dtype
) -> torch.nn.Module:
    model = kind(hf_config).to(dtype).eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}  # tied
    return model


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param
