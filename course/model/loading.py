"""From a name to a model that is ready to run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from course.errors import UserError
from course.model.config import ModelConfig
from course.model.transformer import Transformer
from course.model.weights import TINY_FOLDER, checkpoint_folder, load_config, load_weights

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(slots=True)
class Model:
    """A network and the tokenizer that belongs to it. ``folder`` is None for random weights."""

    name: str
    network: Transformer
    folder: Path | None = None
    _tokenizer: Any = field(default=None, repr=False)

    @property
    def config(self) -> ModelConfig:
        """Shape of the network."""
        return self.network.config

    @property
    def tokenizer(self) -> Any:
        """Hugging Face tokenizer, loaded on first use. Raises UserError where there is none."""
        if self._tokenizer is None:
            self._tokenizer = _load_tokenizer(self.name, self.folder)
        return self._tokenizer

    def encode(self, text: str) -> list[int]:
        """Tokens of a text. Raises UserError for a text that gives none."""
        tokens: list[int] = self.tokenizer(text)["input_ids"]
        if not tokens:
            raise UserError("the prompt is empty; give at least one character")
        return tokens

    def decode(self, tokens: list[int]) -> str:
        """Text of tokens, end marks and the like left out."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def load_model(
    name: str = "tiny",
    *,
    dtype: str | torch.dtype = torch.float32,
    device: str = "cpu",
    attention: str = "auto",
    packed: bool = True,
) -> Model:
    """Load a checkpoint: "tiny" (shipped with the course), a local folder, or a hub name.

    Its tokenizer comes along where there is one, so that nobody's first token waits for it. Raises UserError for a
    name that is not found, a family that is not supported, a dtype or device that is not there.
    """
    model = Model(name, *load_network(name, dtype=dtype, device=device, attention=attention, packed=packed))
    with suppress(UserError):
        _ = model.tokenizer
    return model


def load_network(
    name: str = "tiny",
    *,
    dtype: str | torch.dtype = torch.float32,
    device: str = "cpu",
    attention: str = "auto",
    packed: bool = True,
) -> tuple[Transformer, Path]:
    """What computes, and the folder that it comes from: all that a worker needs. Raises as `load_model` does."""
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise UserError(f"unknown dtype {dtype!r}; choose one of: {', '.join(DTYPES)}")
        dtype = DTYPES[dtype]
    folder = checkpoint_folder(name)
    config = load_config(folder)
    weights = load_weights(folder)
    return Transformer(config, weights, dtype=dtype, device=device, attention=attention, packed=packed), folder


def _load_tokenizer(name: str, folder: Path | None) -> Any:
    if folder is None:
        raise UserError(f"the model {name!r} has no tokenizer; give prompts as lists of token ids")
    if folder == TINY_FOLDER:  # no need to look for the class of this one, which takes a second
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} holds no tokenizer that can be read; give prompts as lists of token ids") from error
