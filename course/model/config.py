"""The shape of a model: what the engine needs to know of a Hugging Face configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from course.errors import UserError

if TYPE_CHECKING:
    from types import SimpleNamespace

    from transformers import PreTrainedConfig

FAMILIES = ("llama", "qwen2", "qwen3")
ROPE_TYPES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of a decoder with RMSNorm, RoPE, SwiGLU and grouped-query attention.

    ``rope_inverse_frequencies[i]`` is the angle in radians by which pair ``i`` of a head turns
    per position (head_dim / 2 of them); ``rope_scale`` multiplies the cosines and sines (YaRN).
    ``qkv_bias``, ``output_bias`` and ``mlp_bias`` say which linear maps carry a bias, and
    ``qk_norm`` whether queries and keys are normalised per head (Qwen3).
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_context: int
    rope_inverse_frequencies: tuple[float, ...]
    rope_scale: float = 1.0
    rms_norm_eps: float = 1e-6
    tied_embeddings: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    end_tokens: tuple[int, ...] = ()

    @property
    def group_size(self) -> int:
        """Query heads that share one key-value head."""
        return self.num_heads // self.num_kv_heads

    def kv_bytes_per_token(self, element_bytes: int = 4) -> int:
        """Bytes of keys and values that one token leaves in the cache, over all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * element_bytes

    @classmethod
    def from_hugging_face(cls, config: PreTrainedConfig | SimpleNamespace) -> ModelConfig:
        """Read a configuration of ``transformers``, or what a config.json says where that is everything.

        Raises UserError where the model is of another family or uses something that this
        engine does not compute (sliding windows, RoPE that depends on the length of the text).
        """
        _check_supported(config)
        frequencies, scale = _rope(config)
        family = config.model_type
        end = config.eos_token_id
        return cls(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads or config.num_attention_heads,
            head_dim=_head_dim(config),
            max_context=config.max_position_embeddings,
            rope_inverse_frequencies=frequencies,
            rope_scale=scale,
            rms_norm_eps=config.rms_norm_eps,
            tied_embeddings=bool(config.tie_word_embeddings),
            qkv_bias=family == "qwen2" or bool(getattr(config, "attention_bias", False)),
            output_bias=family != "qwen2" and bool(getattr(config, "attention_bias", False)),
            mlp_bias=family == "llama" and bool(getattr(config, "mlp_bias", False)),
            qk_norm=family == "qwen3",
            end_tokens=() if end is None else tuple(end) if isinstance(end, list) else (end,),
        )


def default_rope(head_dim: int, theta: float = 10_000.0) -> tuple[float, ...]:
    """Angles per position of plain RoPE (Su et al. 2021): theta ** (-2i / head_dim).

    In float32, as ``transformers`` computes them, so that the two agree at long distances.
    """
    import torch

    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    return tuple((1.0 / theta**exponents).tolist())


def benchmark_shape(name: str) -> ModelConfig:
    """Shapes of the benchmark (docs/benchmarks.md), meant for random untied weights.

    ``tiny`` has 6.5 million parameters (5.4 with tied embeddings), ``small`` 50.7 million.
    """
    shapes = {"tiny": (256, 688, 6, 8), "small": (640, 1728, 10, 10)}
    if name not in shapes:
        raise UserError(f"unknown benchmark shape {name!r}; choose one of: {', '.join(shapes)}")
    hidden_size, intermediate_size, num_layers, num_heads = shapes[name]
    head_dim = hidden_size // num_heads
    return ModelConfig(
        vocab_size=4096,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads // 2,
        head_dim=head_dim,
        max_context=4096,
        rope_inverse_frequencies=default_rope(head_dim),
    )


def _check_supported(config: PreTrainedConfig | SimpleNamespace) -> None:
    if config.model_type not in FAMILIES:
        raise UserError(
            f"models of the family {config.model_type!r} are not supported; "
            f"choose a checkpoint of one of: {', '.join(FAMILIES)}"
        )
    if getattr(config, "use_sliding_window", False):
        raise UserError(
            "this checkpoint uses sliding-window attention, which the engine does not compute; "
            "choose one with use_sliding_window false"
        )
    if config.hidden_act != "silu":
        raise UserError(f"this checkpoint uses the activation {config.hidden_act!r}; the engine computes silu only")


def _head_dim(config: PreTrainedConfig | SimpleNamespace) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _rope(config: PreTrainedConfig | SimpleNamespace) -> tuple[tuple[float, ...], float]:
    parameters = config.rope_parameters
    kind = parameters.get("rope_type", "default")
    if kind not in ROPE_TYPES:
        raise UserError(f"this checkpoint uses {kind!r} rotary embeddings; supported are: {', '.join(ROPE_TYPES)}")
    if kind == "default":
        return default_rope(_head_dim(config), parameters["rope_theta"]), 1.0
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    frequencies, scale = ROPE_INIT_FUNCTIONS[kind](config, "cpu")
    return tuple(frequencies.tolist()), float(scale)
