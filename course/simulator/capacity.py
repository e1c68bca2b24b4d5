"""How many tokens of keys and values fit beside the weights.

`kv_capacity` computes it from shape and memory, as an engine does when it starts. `published_kv_capacity` gives what
DistServe measured for its fitted models; its simulator batches prompts up to that number.
"""

from __future__ import annotations

from course.errors import UserError
from course.simulator.costs.distserve import published
from course.simulator.hardware import Hardware
from course.simulator.parallel import Split
from course.simulator.shapes import ModelShape

UTILISATION = 0.9
"""Share of the memory for weights and cache; the rest is for activations. vLLM's long-standing default."""


def kv_capacity(
    shape: ModelShape, hardware: Hardware, tp: int = 1, pp: int = 1, utilisation: float = UTILISATION
) -> int:
    """Tokens whose keys and values fit an instance of ``tp`` * ``pp`` accelerators.

    On every accelerator: (memory * utilisation - its weights) / its cache bytes per token; the fullest one decides.

    Raises:
        UserError: when the weights do not fit, or leave no room for one token; it says what would fit.
    """
    if not 0 < utilisation <= 1:
        raise UserError(f"memory utilisation must be above 0 and at most 1, got {utilisation}")
    split = Split(shape, tp, pp)
    num_tokens = _tokens(split, hardware.memory_bytes * utilisation)
    if num_tokens < 1:
        raise UserError(_does_not_fit(split, hardware, utilisation))
    return num_tokens


def published_kv_capacity(model: str, tp: int = 1, pp: int = 1) -> int:
    """DistServe's measured capacity in tokens on A100-80GB (``max_num_tokens.csv``); see costs/distserve.json.

    Raises:
        UserError: for a model or a split that the table does not have.
    """
    tables = published()["kv_capacity_tokens"]
    if model not in tables:
        raise UserError(f"DistServe measured no KV capacity of {model!r}; it has {', '.join(tables)}")
    if (found := tables[model].get(f"{tp},{pp}")) is None:
        known = ", ".join(f"({pair})" for pair in tables[model])
        raise UserError(f"DistServe measured no KV capacity of {model} with (tp, pp) = ({tp},{pp}); it has {known}")
    return int(found)


def _tokens(split: Split, usable_bytes: float) -> int:
    return min(
        int((usable_bytes - split.weight_bytes(stage)) // split.kv_bytes_per_token(stage)) for stage in range(split.pp)
    )


def _does_not_fit(split: Split, hardware: Hardware, utilisation: float) -> str:
    shape = split.shape
    usable_bytes = hardware.memory_bytes * utilisation
    most = max(split.weight_bytes(stage) for stage in range(split.pp))
    sentence = (
        f"{shape.name} with tp={split.tp} and pp={split.pp} puts {most / 1e9:.1f} GB of weights on one {hardware.name} "
        f"with {usable_bytes / 1e9:.1f} GB for weights and cache"
    )
    wider = [_smallest_fit(shape, usable_bytes, split, tensor=True), _smallest_fit(shape, usable_bytes, split, False)]
    remedies = [f"{name}={found}" for name, found in zip(("tp", "pp"), wider, strict=True) if found is not None]
    remedy = " or ".join(remedies) + " would fit" if remedies else "choose a smaller model or larger hardware"
    return f"{sentence}; {remedy}"


def _smallest_fit(shape: ModelShape, usable_bytes: float, split: Split, tensor: bool) -> int | None:
    """The smallest larger ``tp`` (or ``pp``) with which everything fits, the other left as it is."""
    limit = shape.num_heads if tensor else shape.num_layers
    for number in range((split.tp if tensor else split.pp) + 1, limit + 1):
        try:
            wider = Split(shape, number, split.pp) if tensor else Split(shape, split.tp, number)
        except UserError:
            continue
        if _tokens(wider, usable_bytes) >= 1:
            return number
    return None
