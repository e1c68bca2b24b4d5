"""How to make a model: a few values that any process can follow, where a model itself is too large to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from course.errors import UserError
from course.model.config import ModelConfig
from course.model.loading import DTYPES, Model, load_network
from course.model.transformer import Transformer
from course.model.weights import checkpoint_folder, load_config, random_weights


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Stands for a network whose weights are in other processes: its shape, and nothing that computes."""

    config: ModelConfig


@dataclass(frozen=True, slots=True)
class Recipe:
    """A checkpoint by its name, or with ``config`` random weights of that shape, drawn with ``seed``.

    The other values are those of `course.model.loading.load_network`.
    """

    name: str = "tiny"
    config: ModelConfig | None = None
    seed: int = 0
    dtype: str = "float32"
    packed: bool = True

    def make(self, device: str = "cpu") -> Model:
        """The model. Raises UserError as `load_network` does."""
        if self.config is None:
            return Model(self.name, *load_network(self.name, dtype=self.dtype, device=device, packed=self.packed))
        weights = random_weights(self.config, self.seed)
        dtype = DTYPES[self.dtype]
        return Model(self.name, Transformer(self.config, weights, dtype=dtype, device=device, packed=self.packed))

    @property
    def dtype_bytes(self) -> int:
        """Size of one number."""
        return DTYPES[self.dtype].itemsize

    def outline(self) -> Model:
        """The model's shape and tokenizer without its weights. Raises UserError for a name that is not found."""
        if self.dtype not in DTYPES:
            raise UserError(f"unknown dtype {self.dtype!r}; choose one of: {', '.join(DTYPES)}")
        if self.config is not None:
            return Model(self.name, cast(Transformer, _Elsewhere(self.config)))
        folder = checkpoint_folder(self.name)
        return Model(self.name, cast(Transformer, _Elsewhere(load_config(folder))), folder)
