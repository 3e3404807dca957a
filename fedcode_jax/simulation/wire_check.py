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
    _broadcasts: list[int] = dataclasses.field(default_factory=list, init=False)
    _received: dict[int, int] = dataclasses.field(default_factory=dict, init=False)

    @property
    def figures(self) -> dict[str, int | float]:
        """What it has found, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not field.name.startswith("_")
        }

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
        missed = self._missed_by(traffic, metrics)
        for place, client in enumerate(metrics.clients.tolist()):
            down = Message(traffic.broadcast.kind[place], traffic.broadcast.sections)
            if traffic.whole is not None and traffic.whole.kind[place] != Kind.NOTHING:
                down, missed[place] = Message(traffic.whole.kind[place], traffic.whole.sections), 0
            given, bits = _row(traffic.broadcast_given, place), traffic.broadcast_bits[place]
            self._one(down, given, bits, missed[place], f"{where}, to client {client}")
            up, given = _row(traffic.uploads, place), _row(traffic.uploads_given, place)
            self._one(up, given, traffic.upload_bits[place], 0, f"{where}, from client {client}")

    def _missed_by(self, traffic: Traffic, metrics: RoundMetrics) -> list[int | None]:
        """Bytes of the earlier broadcasts that each client is sent too; None where unknown."""
        if traffic.whole is None:
            return [0] * len(metrics.num_samples)
        self._broadcasts.append(
            len(wire.encode(Message(traffic.broadcast_kind, traffic.broadcast.sections)))
        )
        now, missed = len(self._broadcasts), []
        for place, client in enumerate(metrics.clients.tolist()):
            last = self._received.get(client)
            missed.append(None if last is None else sum(self._broadcasts[last : now - 1]))
            if metrics.received[place]:
                self._received[client] = now
        there = metrics.present.tolist()
        return [size if present else 0 for size, present in zip(missed, there, strict=True)]

    def _one(
        self, message: Message, given: Message | None, bits: Any, beside: int | None, where: str
    ) -> None:
        counted = int(bits) // 8
        data = wire.encode(message, given=given)
        if int(message.kind) != Kind.NOTHING:
            decoded, expected = wire.decode(data, given=given), wire.sent(message, given=given)
            if not _equal(decoded, expected):
                raise WireCheckError(f"{where}: the message is another one after decoding")
        if beside is None:  # it missed messages of before this check began
            beside = counted - len(data)
        size = len(data) + beside
        difference = abs(size - counted)
        allowed = max(_TINY, TOLERANCE * size) if wire.is_entropy_coded(message) else 0
        if difference > allowed:
            raise WireCheckError(f"{where}: counted {counted} bytes, encoded to {size}")
        self.messages += 1
        self.encoded_bytes += size
        self.counted_bytes += counted
        self.largest_difference = max(self.largest_difference, difference / max(size, 1))


def _row(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _equal(a: Message, b: Message) -> bool:
    """Equal in structure, which says how each section was written, and in every array."""
    (leaves, structure), (others, other_structure) = jax.tree.flatten(a), jax.tree.flatten(b)
    if str(structure) != str(other_structure):
        return False
    pairs = zip(leaves, others, strict=True)
    return all(
        (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
        for x, y in (map(np.asarray, pair) for pair in pairs)  # NaN is itself
    )
