"""Every message of a run encoded and decoded for real, and its counted size held against it."""

import dataclasses
import zlib
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
      damaged: of these, uploads that were rejected as damaged: with bits flipped none of them could
        be decoded. None where there were no faults.
      refused: uploads that were rejected as not finite: they could not be encoded, or their bytes
        show it. None likewise.
      left_out: rounds whose messages were not looked at: those up to the evaluation at which a run
        was found to diverge. None where there were none.
    """

    messages: int = 0
    encoded_bytes: int = 0
    counted_bytes: int = 0
    largest_difference: float = 0.0
    damaged: int | None = None
    refused: int | None = None
    left_out: int | None = None
    _broadcasts: list[int] = dataclasses.field(default_factory=list, init=False)
    _received: dict[int, int] = dataclasses.field(default_factory=dict, init=False)

    @property
    def figures(self) -> dict[str, int | float]:
        """What it has found, by name; of faults only where there were any."""
        names = [f.name for f in dataclasses.fields(self) if not f.name.startswith("_")]
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def take(self, traffic: Traffic, metrics: RoundMetrics, first_round: int) -> None:
        """Checks the messages of some rounds.

        Args:
          traffic: with a leading axis of rounds.
          metrics: of the same rounds.
          first_round: number of the first of them.

        Raises:
          WireCheckError: a message is not the same after decoding, or its counted size is off; or
            one that is damaged or not finite was taken for a sound one.
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
            self._upload(up, given, traffic.upload_bits[place], metrics, place, where)
        if metrics.faults is not None:
            self.damaged = (self.damaged or 0) + int(metrics.faults.corrupt.sum())
            self.refused = (self.refused or 0) + int(metrics.faults.not_finite.sum())
            if metrics.faults.restarted:
                self._received.clear()  # it does not know what its clients hold

    def _upload(
        self,
        message: Message,
        given: Message | None,
        bits: Any,
        metrics: RoundMetrics,
        place: int,
        where: str,
    ) -> None:
        """One upload, as its client and the network did with it."""
        where = f"{where}, from client {metrics.clients[place]}"
        faults = metrics.faults
        if faults is not None and metrics.received[place] and not faults.kept[place]:
            _check_refused(message, given, where)
            return
        self._one(message, given, bits, 0, where)
        if faults is not None and faults.corrupt[place]:
            _check_damaged(wire.encode(message, given=given), given, where)

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
            kept = metrics.received if metrics.faults is None else metrics.faults.kept
            if kept[place]:
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


def _check_refused(message: Message, given: Message | None, where: str) -> None:
    """That a message with a float that is not finite is not taken for a sound one.

    One of sampled bits, say, may be finite though the weights were not: its client knows it alone.
    """
    if _is_finite(message):
        return
    try:
        data = wire.encode(message, given=given)
    except ValueError:
        return
    if int(message.kind) != Kind.NOTHING and _is_finite(wire.decode(data, given=given)):
        raise WireCheckError(f"{where}: the message is not finite, and its bytes do not show it")


def _check_damaged(data: bytes, given: Message | None, where: str) -> None:
    """That bytes of which some bits are flipped are not decoded."""
    rng = np.random.default_rng(zlib.crc32(data))
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    flipped = rng.choice(bits.size, size=rng.integers(1, 9), replace=False)
    bits[flipped] ^= 1
    try:
        wire.decode(np.packbits(bits).tobytes(), given=given)
    except wire.DecodeError:
        return
    raise WireCheckError(f"{where}: decoded although {len(flipped)} of its bits are flipped")


def _is_finite(message: Message) -> bool:
    leaves = (np.asarray(leaf) for leaf in jax.tree.leaves(message.sections))
    return all(np.isfinite(leaf.astype(np.float32)).all() for leaf in leaves)


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
