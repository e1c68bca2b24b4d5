"""Hugging Face configurations as shapes: one meaning, many names.

Families name their figures differently (``hidden_size``, ``n_embd``, ``d_model``) and leave out what they always do
(GPT-2 has biases and learned positions and says neither). The tests compare the parameters of some twenty families with
the models that ``transformers`` builds: equal for most, within 0.01 % where a family has a norm or a bias of its own.
Sliding windows are not described: such a model's cache is taken to grow in every layer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from course.errors import UserError

_NAMES = {
    "num_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "n_embed", "d_model"),
    "num_heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "num_kv_heads": ("num_key_value_heads", "num_kv_heads", "kv_n_heads"),
    "head_dim": ("head_dim",),
    "ffn_size": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
    "vocab_size": ("vocab_size",),
    "max_context": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx"),
}

# Two matrices in the feed-forward part instead of three.
_UNGATED = {
    *("opt", "gpt2", "gpt_neo", "gpt_neox", "gptj", "gpt_bigcode", "codegen", "bloom", "falcon", "mpt"),
    *("phi", "starcoder2", "nemotron", "persimmon", "stablelm_alpha"),
}
_LAYER_NORM = _UNGATED | {"stablelm", "cohere"}
_ALL_BIASES = {"opt", "gpt2", "gpt_neox", "gpt_bigcode", "bloom", "phi", "starcoder2", "persimmon"}
_QKV_BIAS = {"qwen", "qwen2"}
_PARALLEL = {"falcon", "phi", "gptj", "codegen", "cohere"}  # one norm feeds attention and feed-forward part
_TIED = {"opt", "gpt2", "gpt_neo", "gpt_bigcode", "bloom", "falcon", "mpt", "gemma", "gemma2", "gemma3_text", "cohere"}
_QK_NORM = {"qwen3", "gemma3_text"}
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size")
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def read_config(path: Path) -> tuple[dict[str, Any], str]:
    """The contents of a ``config.json`` (or of the one in that folder), and the name of its folder."""
    file = path / "config.json" if path.is_dir() else path
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"there is no model configuration {file}; give the path of a config.json") from None
    except ValueError:
        raise UserError(f"{file} is not JSON; give the config.json of a Hugging Face model") from None
    if not isinstance(table, dict):
        raise UserError(f"{file} is not a model's configuration; give the config.json of a Hugging Face model")
    return table, file.resolve().parent.name


def shape_fields(config: dict[str, Any], name: str = "") -> dict[str, Any]:
    """The fields of ModelShape. Raises UserError for what it cannot describe and for figures that are missing."""
    inner = config.get("text_config")  # the language part of a model that also reads pictures
    text: dict[str, Any] = {**config, **inner} if isinstance(inner, dict) else config
    family = str(text.get("model_type", ""))
    name = str(config.get("_name_or_path") or name or family or "model")
    _check_supported(text, name)
    hidden, heads = _number(text, "hidden_size", name), _number(text, "num_heads", name)
    biases = family in _ALL_BIASES or bool(text.get("bias"))
    gated = family not in _UNGATED
    return {
        "name": name,
        "num_layers": _number(text, "num_layers", name),
        "hidden_size": hidden,
        "num_heads": heads,
        "num_kv_heads": _kv_heads(text, family, heads),
        "head_dim": _first(text, "head_dim") or hidden // heads,
        "ffn_size": _first(text, "ffn_size") or (4 * hidden if not gated else _number(text, "ffn_size", name)),
        "vocab_size": _number(text, "vocab_size", name),
        "max_context": _first(text, "max_context") or 2048,
        "gated": gated,
        "layer_norm": family in _LAYER_NORM,
        "parallel_blocks": family in _PARALLEL and not text.get("new_decoder_architecture"),
        "tied_embeddings": bool(text.get("tie_word_embeddings", family in _TIED)),
        "qkv_bias": biases or family in _QKV_BIAS or bool(text.get("attention_bias")),
        "output_bias": biases or bool(text.get("attention_bias")),
        "mlp_bias": biases or family in {"gptj", "gpt_neo", "codegen"} or bool(text.get("mlp_bias")),
        "qk_norm": family in _QK_NORM,
        "num_position_rows": _position_rows(text, family),
        "bytes_per_value": _value_bytes(text),
        "source": "its Hugging Face configuration",
    }


def _check_supported(config: dict[str, Any], name: str) -> None:
    if any((config.get(key) or 0) > 1 for key in _EXPERTS):
        raise UserError(f"model {name!r} is a mixture of experts; shapes describe dense models only")
    if config.get("kv_lora_rank"):
        raise UserError(f"model {name!r} compresses its keys and values (MLA); shapes describe MHA, GQA and MQA only")
    if config.get("is_encoder_decoder"):
        raise UserError(f"model {name!r} has an encoder; shapes describe decoder-only models")


def _first(config: dict[str, Any], what: str) -> int | None:
    return next((int(config[key]) for key in _NAMES[what] if config.get(key)), None)


def _number(config: dict[str, Any], what: str, name: str) -> int:
    if (value := _first(config, what)) is None:
        raise UserError(f"the configuration of {name!r} does not say its {what}; one of {', '.join(_NAMES[what])}")
    return value


def _kv_heads(config: dict[str, Any], family: str, heads: int) -> int:
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return 1
    if family == "falcon" and not config.get("new_decoder_architecture"):
        return heads
    return _first(config, "num_kv_heads") or int((config.get("attn_config") or {}).get("kv_n_heads", heads))


def _position_rows(config: dict[str, Any], family: str) -> int:
    length = _first(config, "max_context") or 0
    return {"opt": length + 2, "gpt2": length, "gpt_neo": length, "gpt_bigcode": length}.get(family, 0)


def _value_bytes(config: dict[str, Any]) -> int:
    name = str(config.get("dtype") or config.get("torch_dtype") or "float16").removeprefix("torch.")
    if name not in _BYTES:
        raise UserError(f"the configuration stores {name}; shapes know {', '.join(_BYTES)}")
    return _BYTES[name]
