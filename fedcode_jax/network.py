"""Links and devices: from the bytes of a round to simulated seconds."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from fedcode_jax.errors import ConfigError

_BITS_PER_BYTE = 8
_BITS_PER_MBIT = 1e6


@dataclasses.dataclass(frozen=True)
class Network:
    """The link and the speed of every client.

    The defaults are a scenario: a slow mobile link. They are no standard; time at other rates
    follows from the same bytes.

    Attributes:
      uplink_mbit: rate from a client to the server in Mbit/s.
      downlink_mbit: rate from the server to a client in Mbit/s; clients do not share it.
      round_trip: seconds from a request to the start of its answer.
      samples_per_second: training speed of a client; None: computing takes no time.

    Raises:
      ConfigError: a rate that is not above 0, or a negative round trip.

    Example:
      >>> print(Network())
      1 Mbit/s up, 10 Mbit/s down, 50 ms
    """

    uplink_mbit: float = 1.0
    downlink_mbit: float = 10.0
    round_trip: float = 0.05
    samples_per_second: float | None = None

    def __post_init__(self) -> None:
        for name in ("uplink_mbit", "downlink_mbit", "samples_per_second"):
            rate = getattr(self, name)
            if rate is not None and not rate > 0:
                raise ConfigError(f"network.{name}: {rate!r} cannot be used; it must be above 0")
        if not 0 <= self.round_trip < math.inf:
            raise ConfigError(
                f"network.round_trip: {self.round_trip!r} cannot be used; it must be a finite"
                " number of seconds, 0 or more"
            )

    def __str__(self) -> str:
        text = f"{self.uplink_mbit:g} Mbit/s up, {self.downlink_mbit:g} Mbit/s down, "
        text += f"{self.round_trip * 1000:g} ms"
        if self.samples_per_second is not None:
            text += f", {self.samples_per_second:g} samples/s"
        return text


def round_seconds(
    network: Network, uplink_bytes: ArrayLike, downlink_bytes: ArrayLike, samples: ArrayLike
) -> float:
    """Simulated seconds of one synchronous round, which waits for its slowest client.

    Client i takes

        [down_i > 0] (round_trip + 8 down_i / downlink)
        + samples_i / samples_per_second
        + [up_i > 0] (round_trip + 8 up_i / uplink)

    and the round takes the largest of these. A direction in which nothing is sent costs no
    time, not even a round trip; a codebook of a few hundred bytes costs hardly more than one.

    Args:
      network: the links, the same for all clients.
      uplink_bytes: [clients], bytes that each client of the round sends; or one figure for all.
      downlink_bytes: [clients], bytes that each client receives; or one figure.
      samples: [clients], samples that each client trains on, epochs counted; or one figure.

    Returns:
      Seconds; 0 for a round without clients.

    Example:
      One client sends 1 kB, the other 2 kB; both receive 10 kB.

      >>> round_seconds(Network(), uplink_bytes=[1000, 2000], downlink_bytes=10_000, samples=0)
      0.124
    """
    up, down, trained = np.broadcast_arrays(
        *(np.asarray(each, np.float64) for each in (uplink_bytes, downlink_bytes, samples))
    )
    seconds = _exchange(down, network.downlink_mbit, network.round_trip)
    seconds = seconds + _exchange(up, network.uplink_mbit, network.round_trip)
    if network.samples_per_second is not None:
        seconds = seconds + trained / network.samples_per_second
    return float(np.max(seconds, initial=0.0))


def _exchange(sent: np.ndarray, mbit: float, round_trip: float) -> np.ndarray:
    """Seconds of one direction: f64[clients] for the bytes f64[clients]."""
    transfer = sent * _BITS_PER_BYTE / (mbit * _BITS_PER_MBIT)
    return np.where(sent > 0, round_trip + transfer, 0.0)
