"""Sending the cache layer by layer while the prefill still computes (Splitwise, ISCA'24, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from course.errors import UserError


class Visible(NamedTuple):
    """What is left to do once the prefill is over: bytes to send, and seconds on top of that."""

    num_bytes: float
    extra_s: float


@dataclass(frozen=True, slots=True)
class LayerWise:
    """Layer i is sent while layer i + 1 is computed, so that of a long prompt only the last layer is left to send.

    What remains visible of L layers, alone on the link, is max(s/L, s - (1 - 1/L) p) + ``sync_s``, with s = bytes /
    bandwidth and p the prefill's time: there is nothing to send before the first layer is computed.
    ``sync_s`` is what telling the receiver of each layer costs: Splitwise measured 5 ms (H100, 400 Gbit/s) to 8 ms
    (A100, 200 Gbit/s) in all, whatever the length. Where that is more than is gained the cache is sent in one piece
    after the prefill, as Splitwise does with short prompts.

    Limits of the model: layers sent early do not slow other transfers down and are not slowed down by them, and the
    prefill does not suffer (Splitwise: less than 7 % of its time). A prompt in chunks counts as one pass through the
    layers that takes as long as all of them.

    Raises:
        UserError: for less than one layer or a negative time.
    """

    num_layers: int
    sync_s: float = 0.005

    def __post_init__(self) -> None:
        if self.num_layers < 1 or not self.sync_s >= 0:
            raise UserError(
                f"layer-wise transfer needs at least 1 layer and sync_s of at least 0 s, "
                f"got {self.num_layers} and {self.sync_s}"
            )

    def visible(self, num_bytes: float, bandwidth_bytes_s: float, prefill_s: float) -> Visible:
        """What is left of a transfer after a prefill of ``prefill_s`` during which layers could already be sent."""
        share = 1 / self.num_layers
        left = max(share * num_bytes, num_bytes - bandwidth_bytes_s * (1 - share) * prefill_s)
        if num_bytes - left > bandwidth_bytes_s * self.sync_s:
            return Visible(left, self.sync_s)
        return Visible(num_bytes, 0.0)
