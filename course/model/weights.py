"""Weights by name: from a checkpoint on disk or on the hub, or drawn at random.

Names are those of Hugging Face checkpoints ("model.layers.0.self_attn.q_proj.weight"), so the
same dictionary also loads into the model of ``transformers`` (the tests do that).
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from course.errors import UserError
from course.model.config import ModelConfig

TINY_FOLDER = Path(__file__).parent / "tiny"

Weights = dict[str, Tensor]


def checkpoint_folder(name: str) -> Path:
    """The folder that holds the checkpoint: "tiny", a local path, or a name on the hub.

    A hub checkpoint is downloaded into Hugging Face's cache on first use. Raises UserError
    where nothing of that name is found.
    """
    if name == "tiny":
        return TINY_FOLDER
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(
            f"no model at {name!r}: give tiny, a folder with config.json and safetensors files, "
            "or a name of the Hugging Face hub such as Qwen/Qwen3-0.6B"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]))
    except Exception as error:  # the hub's errors share no base class
        raise UserError(
            f"cannot fetch the model {name!r} from the Hugging Face hub ({type(error).__name__}); "
            "check the name and the network, or give a local folder"
        ) from error


def load_config(folder: Path) -> ModelConfig:
    """Read config.json. Raises UserError where it is missing, broken or of another family."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json; give a folder with a Hugging Face checkpoint")
    if folder == TINY_FOLDER:  # says everything; of others transformers knows the rest, and takes 2 s to import
        return ModelConfig.from_hugging_face(SimpleNamespace(**json.loads((folder / "config.json").read_text())))
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"cannot read {folder / 'config.json'}: {reason}") from error
    return ModelConfig.from_hugging_face(config)


def load_weights(folder: Path) -> Weights:
    """Every tensor of the checkpoint, as stored, from one safetensors file or from its shards."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: Weights = {}
    for file in _safetensors_files(folder):
        try:
            weights.update(load_file(file))
        except (SafetensorError, OSError) as error:
            raise UserError(f"cannot read {file}: {error}; fetch the checkpoint again") from error
    return weights


def _safetensors_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError(f"{folder} holds no {missing[0]}; only safetensors checkpoints can be loaded")
    return files


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that a checkpoint of this shape holds."""
    hidden, inner, head = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_heads * head, config.num_kv_heads * head
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for i in range(config.num_layers):
        layer = f"model.layers.{i}"
        for part, outputs, inputs, has_bias in (
            ("self_attn.q_proj", queries, hidden, config.qkv_bias),
            ("self_attn.k_proj", keys, hidden, config.qkv_bias),
            ("self_attn.v_proj", keys, hidden, config.qkv_bias),
            ("self_attn.o_proj", hidden, queries, config.output_bias),
            ("mlp.gate_proj", inner, hidden, config.mlp_bias),
            ("mlp.up_proj", inner, hidden, config.mlp_bias),
            ("mlp.down_proj", hidden, inner, config.mlp_bias),
        ):
            shapes[f"{layer}.{part}.weight"] = (outputs, inputs)
            if has_bias:
                shapes[f"{layer}.{part}.bias"] = (outputs,)
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
        if config.qk_norm:
            shapes[f"{layer}.self_attn.q_norm.weight"] = (head,)
            shapes[f"{layer}.self_attn.k_norm.weight"] = (head,)
    shapes["model.norm.weight"] = (hidden,)
    if not config.tied_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    return shapes


def random_weights(
    config: ModelConfig, seed: int = 0, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Weights:
    """Reproducible random weights, spread so that greedy answers vary from token to token.

    Drawn on ``device``, which decides about the numbers: a large model's take a CPU many seconds.

    Use them untied (``config.tied_embeddings`` false): with tied random embeddings a model
    repeats its input, and "identical tokens" would prove nothing.
    """
    generator = torch.Generator(device).manual_seed(seed)
    weights: Weights = {}
    for name, shape in weight_shapes(config).items():
        noise = torch.randn(shape, generator=generator, device=device, dtype=dtype)
        if "norm" in name:
            weights[name] = 1.0 + 0.1 * noise
        elif name.endswith("bias"):
            weights[name] = 0.1 * noise
        elif "embed_tokens" in name:
            weights[name] = noise
        else:
            weights[name] = noise * shape[-1] ** -0.5
    return weights


def check_weights(config: ModelConfig, weights: Weights) -> None:
    """Raise UserError, naming the first weight that is missing or has another shape."""
    for name, shape in weight_shapes(config).items():
        if name not in weights:
            raise UserError(f"the checkpoint lacks the weight {name!r} that its config.json announces")
        if tuple(weights[name].shape) != shape:
            raise UserError(
                f"the weight {name!r} has shape {tuple(weights[name].shape)} where config.json announces {shape}"
            )
