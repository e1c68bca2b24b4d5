"""Write a model as a Hugging Face checkpoint: bf16 weights that the Auto classes load without a network."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write config, generation config, weights and tokenizer into directory."""
    directory.mkdir(parents=True, exist_ok=True)
    shipped = copy.deepcopy(model).bfloat16()
    shipped.config.dtype = "bfloat16"
    shipped.save_pretrained(directory)
    tokenizer.save_pretrained(directory, save_jinja_files=False)
    # The name that every release of transformers knows.
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text())
    for name in ("backend", "is_local", "local_files_only"):
        config.pop(name, None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n")
    (directory / "model.safetensors").chmod(0o644)
