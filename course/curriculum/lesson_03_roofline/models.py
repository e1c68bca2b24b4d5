"""Published models and GPUs, with the figures that a step's work follows from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from course.engine.profiling import StepShape
from course.figures import Roof
from course.simulator.hardware import load_hardware
from course.simulator.operators import layer_products, logits_product
from course.simulator.parallel import Split
from course.simulator.shapes import ModelShape, load_shape


@dataclass(frozen=True, slots=True)
class Model:
    """What `step` needs of a model: ``matrices`` gives each matrix of a layer as (inputs, outputs), by its name."""

    name: str
    matrices: dict[str, tuple[int, int]]
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    logits: tuple[int, int]
    element_bytes: int


def model_of(shape: ModelShape | str) -> Model:
    """The model of that shape, or of a name such as "opt-13b". Raises UserError for a name that is not known."""
    shape = load_shape(shape) if isinstance(shape, str) else shape
    split = Split(shape)
    logits = logits_product(split)
    return Model(
        name=shape.name,
        matrices={product.name: (int(product.inputs), int(product.outputs)) for product in layer_products(split)},
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        logits=(int(logits.inputs), int(logits.outputs)),
        element_bytes=shape.bytes_per_value,
    )


def roof_of(name: str) -> Roof:
    """The roof of an accelerator such as "h100", as its datasheet draws it."""
    hardware = load_hardware(name)
    return Roof(name.split("-")[0].upper(), hardware.flops_s, hardware.memory_bandwidth_bytes_s)


def shape_of_step(sequences: Sequence[tuple[int, int]]) -> StepShape:
    """The step of these sequences, (new tokens, cached tokens), for the engine's timer: one new token is a decode."""
    prompts = tuple((num_cached, num_new) for num_new, num_cached in sequences if num_new > 1)
    return StepShape(prompts, tuple(num_cached for num_new, num_cached in sequences if num_new == 1))
