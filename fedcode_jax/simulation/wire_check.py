"""Every message of a run encoded and decoded for real, and its counted size held against it."""

import dataclasses
from typing import Any

import jax
import numpy as np

from fedcode_jax import wire
from fedcode_jax.errors import WireCheckError
from fedcode_jax.simulation.state import RoundMetrics, Traffic
from fedcode_jax.wire import Kind, Message

TOLERANCE = 0.01
"""Share by which a counted size of entropy-coded codes may differ from the bytes."""

_TINY = 8  # bytes by which it may differ however small the message: two words of the coder


@dataclasses.dataclass
class WireCheck:
    """Counts what it has checked.

    Attributes:
      messages: encoded, decoded and found equal; one that goes to several clients counts for
        each.
      encoded_bytes: their length.
      counted_bytes: the length that the jitted round counted for them.
      largest_difference: between the two, for one message, as a share of its length.
    """

    messages: int = 0
    encoded_bytes: int = 0
    counted_bytes: int = 0
    largest_difference: float = 0.0

    def take(self, traffic: Traffic, metrics: RoundMetrics, first_round: int) -> None:
        """Checks the messages of some rounds.

        Args:
          traffic: with a leading axis of rounds.
          metrics: of the same rounds.
          first_round: number of the first of them.

        Raises:
          WireCheckError: a message is not the same after decoding, or its counted size is off.
        """
        traffic, metrics = jax.device_get((traffic, metrics))
        for i in range(len(metrics.train_loss)):
            where = f"round {first_round + i}"
            self._round(_row(traffic, i), _row(metrics, i), where)

    def _round(self, traffic: Traffic, metrics: RoundMetrics, where: str) -> None:
        for client in range(len(metrics.num_samples)):
            down = Message(traffic.broadcast.kind[client], traffic.broadcast.sections)
            given = _row(traffic.broadcast_given, client)
            self._one(down, given, metrics.downlink_bits[client], f"{where}, to client {client}")
            up, given = _row(traffic.uploads, client), _row(traffic.uploads_given, client)
            self._one(up, given, traffic.upload_bits[client], f"{where}, from client {client}")

    def _one(self, message: Message, given: Message | None, bits: Any, where: str) -> None:
        counted = int(bits) // 8
        data = wire.encode(message, given=given)
        if int(message.kind) != Kind.NOTHING:
            decoded, expected = wire.decode(data, given=given), wire.sent(message, given=given)
            if not _equal(decoded, expected):
                raise WireCheckError(f"{where}: the message is another one after decoding")
        difference = abs(len(data) - counted)
        allowed = max(_TINY, TOLERANCE * len(data)) if wire.is_entropy_coded(message) else 0
        if difference > allowed:
            raise WireCheckError(f"{where}: counted {counted} bytes, encoded to {len(data)}")
        self.messages += 1
        self.encoded_bytes += len(data)
        self.counted_bytes += counted
        share = difference / max(len(data), 1)
        self.largest_difference = max(self.largest_difference, share)


def _row(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _equal(a: Message, b: Message) -> bool:
    """Equal in structure, which says how each section was written, and in every array."""
    (leaves, structure), (others, other_structure) = jax.tree.flatten(a), jax.tree.flatten(b)
    if str(structure) != str(other_structure):
        return False
    pairs = zip(leaves, others, strict=True)
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs)
