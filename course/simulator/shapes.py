"""Shapes of models: what decides about memory and arithmetic, without a single weight.

`load_shape` knows the published models of ``shapes.toml`` and reads any Hugging Face ``config.json``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.simulator.names import unknown_name

_FILE = Path(__file__).with_name("shapes.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A decoder of ``num_layers`` equal layers, each attention and a feed-forward part.

    ``num_kv_heads`` equal to ``num_heads`` is multi-head attention (MHA), 1 is multi-query (MQA), between them lies
    grouped-query attention (GQA). ``gated`` feed-forward parts (SwiGLU) have three matrices instead of two.
    ``num_position_rows`` counts learned position embeddings, ``qk_norm`` adds a norm per head to queries and keys.
    ``bytes_per_value`` is the width of weights and cache alike: 2 for float16 and bfloat16.
    """

    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    max_context: int
    gated: bool = True
    tied_embeddings: bool = False
    bytes_per_value: int = 2
    layer_norm: bool = False
    parallel_blocks: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    num_position_rows: int = 0
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise UserError(f"model {self.name!r}: {name} must be at least 1, got {getattr(self, name)}")
        if self.num_heads % self.num_kv_heads:
            raise UserError(
                f"model {self.name!r}: {self.num_heads} query heads cannot share {self.num_kv_heads} key-value heads "
                "evenly; num_kv_heads must divide num_heads"
            )

    @property
    def query_size(self) -> int:
        """Numbers in the queries of one token."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Numbers in the keys of one token in one layer; the values have as many."""
        return self.num_kv_heads * self.head_dim

    @property
    def group_size(self) -> int:
        """Query heads that share one key-value head."""
        return self.num_heads // self.num_kv_heads

    @property
    def norm_size(self) -> int:
        """Parameters of one norm: gains, and with LayerNorm offsets."""
        return self.hidden_size * (2 if self.layer_norm else 1)

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer."""
        hidden, ffn = self.hidden_size, self.ffn_size
        num_up = 2 if self.gated else 1
        attention = hidden * (2 * self.query_size + 2 * self.kv_size)
        attention += self.qkv_bias * (self.query_size + 2 * self.kv_size) + self.output_bias * hidden
        feed_forward = (num_up + 1) * hidden * ffn + self.mlp_bias * (num_up * ffn + hidden)
        norms = (1 if self.parallel_blocks else 2) * self.norm_size + self.qk_norm * 2 * self.head_dim
        return attention + feed_forward + norms

    @property
    def embedding_parameters(self) -> int:
        """Parameters that turn tokens (and learned positions) into vectors."""
        return (self.vocab_size + self.num_position_rows) * self.hidden_size

    @property
    def head_parameters(self) -> int:
        """Parameters of the last norm and of the matrix that turns vectors into logits, unless it is the embedding."""
        return self.norm_size + (0 if self.tied_embeddings else self.vocab_size * self.hidden_size)

    @property
    def num_parameters(self) -> int:
        """All of them."""
        return self.embedding_parameters + self.num_layers * self.layer_parameters + self.head_parameters

    @property
    def weight_bytes(self) -> int:
        """Memory for one copy of the model."""
        return self.num_parameters * self.bytes_per_value

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values that one token leaves in the cache, over all layers: OPT-13B 819,200."""
        return 2 * self.num_layers * self.kv_size * self.bytes_per_value


_COUNTS = (
    *("num_layers", "hidden_size", "num_heads", "num_kv_heads", "head_dim"),
    *("ffn_size", "vocab_size", "max_context", "bytes_per_value"),
)


def shape_names() -> list[str]:
    """Names of the published models that `load_shape` knows."""
    return [name for name, table in _tables().items() if not table.get("family")]


def load_shape(name: str) -> ModelShape:
    """The shape of that name, such as "opt-13b"; or of a ``config.json``, or of a folder that holds one.

    Raises:
        UserError: for a name that is neither, naming the nearest; for a file that cannot be read as a configuration.
    """
    table = _tables().get(name)
    if table is None or table.get("family"):
        if name.endswith(".json") or (name and Path(name).is_dir()):
            return shape_from_config(name)
        raise UserError(unknown_name("model", name, shape_names(), "or give the path of a Hugging Face config.json"))
    return ModelShape(name=name, **_merged(table))


def shape_from_config(config: str | Path | dict[str, Any]) -> ModelShape:
    """The shape that a Hugging Face configuration describes, given as its contents, its file or its folder.

    Raises:
        UserError: where there is none, and for models that this shape cannot describe (mixtures of experts, say).
    """
    from course.simulator.shape_config import read_config, shape_fields

    table, name = (config, "") if isinstance(config, dict) else read_config(Path(config))
    return ModelShape(**shape_fields(table, name))


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def _merged(table: dict[str, Any]) -> dict[str, Any]:
    """The model's own figures over those of its family."""
    known = {field.name for field in fields(ModelShape)}
    merged = {**_tables().get(table.get("like", ""), {}), **table}
    return {key: value for key, value in merged.items() if key in known}
