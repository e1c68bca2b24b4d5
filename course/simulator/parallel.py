"""How a model is split over accelerators: tensor parallel inside a layer, pipeline parallel between layers."""

from __future__ import annotations

from dataclasses import dataclass

from course.errors import UserError
from course.simulator.shapes import ModelShape


@dataclass(frozen=True, slots=True)
class Split:
    """``tp`` accelerators share each layer; ``pp`` stages share the layers.

    Matrices are cut as Megatron-LM cuts them (Shoeybi et al. 2019, arXiv 1909.08053): heads and feed-forward columns,
    embedding and logits by vocabulary. Key-value heads are copied where there are fewer of them than accelerators.

    Raises:
        UserError: where heads or layers cannot be shared so.
    """

    shape: ModelShape
    tp: int = 1
    pp: int = 1

    def __post_init__(self) -> None:
        shape = self.shape
        if self.tp < 1 or self.pp < 1:
            raise UserError(f"tp and pp must be at least 1, got tp={self.tp} and pp={self.pp}")
        if shape.num_heads % self.tp or (shape.num_kv_heads % self.tp and self.tp % shape.num_kv_heads):
            possible = [n for n in range(1, shape.num_heads + 1) if _shares_heads(shape, n)]
            raise UserError(
                f"tp={self.tp} does not divide the {shape.num_heads} heads ({shape.num_kv_heads} key-value heads) of "
                f"{shape.name}; possible are tp = {', '.join(map(str, possible))}"
            )
        if self.pp > shape.num_layers:
            raise UserError(
                f"pp={self.pp} stages are more than the {shape.num_layers} layers of {shape.name}; "
                f"ask for pp of at most {shape.num_layers}"
            )

    @property
    def num_gpus(self) -> int:
        """Accelerators of one instance."""
        return self.tp * self.pp

    @property
    def stage_layers(self) -> list[int]:
        """Layers of each stage: as even as can be, the first stages have one more."""
        each, more = divmod(self.shape.num_layers, self.pp)
        return [each + (stage < more) for stage in range(self.pp)]

    @property
    def kv_heads_per_gpu(self) -> int:
        """Key-value heads that one accelerator keeps."""
        return max(1, self.shape.num_kv_heads // self.tp)

    def weight_bytes(self, stage: int) -> float:
        """Weights on one accelerator of a stage; the first stage has the embedding, the last one the logits."""
        shape = self.shape
        parameters = self.stage_layers[stage] * self._layer_parameters() + (stage == 0) * shape.embedding_parameters
        if stage == self.pp - 1:
            tied_copy = shape.tied_embeddings and self.pp > 1  # the last stage has no access to the first one's
            parameters += shape.head_parameters + tied_copy * shape.vocab_size * shape.hidden_size
        return parameters * shape.bytes_per_value / self.tp

    def _layer_parameters(self) -> int:
        """Parameters of one layer on all of its accelerators, with the copies of key-value heads."""
        shape = self.shape
        copied_heads = self.kv_heads_per_gpu * self.tp - shape.num_kv_heads
        return shape.layer_parameters + 2 * copied_heads * shape.head_dim * shape.hidden_size

    def kv_bytes_per_token(self, stage: int) -> int:
        """What one token leaves in the cache of one accelerator of a stage."""
        shape = self.shape
        return 2 * self.stage_layers[stage] * self.kv_heads_per_gpu * shape.head_dim * shape.bytes_per_value


def _shares_heads(shape: ModelShape, tp: int) -> bool:
    return not shape.num_heads % tp and (not shape.num_kv_heads % tp or not tp % shape.num_kv_heads)
