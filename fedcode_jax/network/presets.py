"""Networks by name: where each comes from, and what a user may change."""

import dataclasses
import math
from typing import Any

import numpy as np

from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.limits import LARGEST, check_probability, check_real, refuse
from fedcode_jax.network.links import Links, check_links
from fedcode_jax.network.table import LIMITS, read_table

_STREAM = 0x11E7  # keeps these draws apart from other uses of the same seed
_BITS_PER_MBIT = 1e6


@dataclasses.dataclass(frozen=True)
class Preset:
    """Links as a source describes them.

    Attributes:
      uplink_mbit: median rate from a client to the server in Mbit/s.
      downlink_mbit: median rate from the server to a client.
      uplink_spread: standard deviation, among clients, of ln(rate).
      downlink_spread: the same of the downlink.
      correlation: between the two logarithms of a client.
      uplink_jitter: coefficient of variation, among rounds, of a client's rate.
      downlink_jitter: the same of the downlink.
      source: where it is from.
    """

    uplink_mbit: float
    downlink_mbit: float
    uplink_spread: float = 0.0
    downlink_spread: float = 0.0
    correlation: float = 0.0
    uplink_jitter: float = 0.0
    downlink_jitter: float = 0.0
    source: str = ""


presets: dict[str, Preset] = {
    "mobile": Preset(1.0, 10.0, source="a scenario, no standard: a slow mobile link"),
    "symmetric": Preset(2.0, 2.0, source="FCP's experiments: 2 Mbit/s"),
    "field_guide": Preset(
        2.0, 6.0, source="0.25 and 0.75 MB/s, Wang et al., arXiv 2107.06917, production estimate"
    ),
    "flash": Preset(
        *(math.exp(3.21), math.exp(3.72), 0.70, 0.48, 0.45, 0.37, 0.40),
        source="log-normal fit to the 19 measured devices of FLASH (Yang et al., WWW 2021)",
    ),
    "table": Preset(math.nan, math.nan, source="network.table, a CSV file of your own"),
}
"""By name; ``network.name`` chooses one."""

_LIMITS = LIMITS | {
    "link_spread": (0, 1e3),
    "link_jitter": (0, 1e3),
    "fit_seconds": (0, 1e30),
    "speed_spread": (0, 1e3),
    "deadline": (0, LARGEST),
}


@dataclasses.dataclass(frozen=True)
class Network:
    """The links and devices of the clients, from which each client's are drawn.

    Attributes:
      name: a preset.
      uplink_mbit: median rate from a client to the server in Mbit/s; None: as the preset has.
      downlink_mbit: from the server to a client, which clients do not share; None likewise.
      round_trip: seconds from a request to the start of its answer.
      link_spread: standard deviation, among clients, of ln(rate), both ways; None: the preset's.
      link_jitter: coefficient of variation, among rounds, of a client's rates; None likewise.
      samples_per_second: training speed of the median client; None: training takes no time.
      fit_seconds: that the median client takes to fit its codebooks, once a round.
      speed_spread: standard deviation, among clients, of ln(speed).
      dropout: probability that a client is away for a round: nothing is sent either way.
      loss: probability that an upload is lost after it was sent.
      deadline: seconds after which the server ends a round; None: it waits for all.
      table: CSV file with a row a client, columns ``COLUMNS``; clients draw from its rows.

    Raises:
      ConfigError: a figure that cannot be, or a table without its preset.
      DataError: the table is missing or malformed.

    Example:
      >>> print(Network())
      mobile: 1 Mbit/s up, 10 Mbit/s down, 50 ms
    """

    name: str = "mobile"
    uplink_mbit: float | None = None
    downlink_mbit: float | None = None
    round_trip: float = 0.05
    link_spread: float | None = None
    link_jitter: float | None = None
    samples_per_second: float | None = None
    fit_seconds: float = 0.0
    speed_spread: float = 0.0
    dropout: float = 0.0
    loss: float = 0.0
    deadline: float | None = None
    table: str | None = None

    def __post_init__(self) -> None:
        check_name("network.name", self.name, presets)
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None:
                check_real(f"network.{name}", value, low, high, above=name == "deadline")
        for name in ("dropout", "loss"):
            check_probability(f"network.{name}", getattr(self, name))
        if (self.name == "table") != (self.table is not None):
            raise ConfigError(
                f"network.table: {self.table!r} with network.name {self.name}; a table needs the "
                "name table, and that name a table"
            )
        for name in ("uplink_mbit", "downlink_mbit", "link_spread"):
            if self.table is not None and getattr(self, name) is not None:
                refuse(
                    f"network.{name}",
                    getattr(self, name),
                    "left out: network.table says it of each client",
                )

    @property
    def preset(self) -> Preset:
        """The preset with what was changed of it."""
        both = {"uplink": self.uplink_mbit, "downlink": self.downlink_mbit}
        changes: dict[str, Any] = {f"{way}_mbit": rate for way, rate in both.items()}
        for way in both:
            changes |= {f"{way}_spread": self.link_spread, f"{way}_jitter": self.link_jitter}
        changes = {name: value for name, value in changes.items() if value is not None}
        return dataclasses.replace(presets[self.name], **changes)

    def links(self, num_clients: int, seed: int = 0) -> Links:
        """Draws the link and the device of every client.

        Args:
          num_clients: C.
          seed: of the draws; rounds draw from the run's own keys.

        Returns:
          The links, NumPy arrays.

        Raises:
          ConfigError: a spread so wide that a client's rate or speed is beyond all bounds.
          DataError: the table is missing or malformed.

        Example:
          >>> Network(uplink_mbit=2.0).links(3).uplink.tolist()
          [2000000.0, 2000000.0, 2000000.0]
        """
        with np.errstate(all="ignore"):  # what a wide spread makes of it is refused below
            drawn = self._drawn(num_clients, np.random.default_rng([_STREAM, seed]))
        try:
            return check_links(drawn)
        except ConfigError as error:
            raise ConfigError(
                f"network.link_spread: {self.preset.uplink_spread:g}, with network.speed_spread"
                f" {self.speed_spread:g}, is too wide: {error}"
            ) from error

    def _drawn(self, num_clients: int, rng: np.random.Generator) -> Links:
        """The links as they come, whatever they are."""
        preset, C = self.preset, num_clients
        ups, downs, tempos = rng.standard_normal((3, C))
        downs = preset.correlation * ups + math.sqrt(1 - preset.correlation**2) * downs
        columns = {
            "uplink_mbit": preset.uplink_mbit * np.exp(preset.uplink_spread * ups),
            "downlink_mbit": preset.downlink_mbit * np.exp(preset.downlink_spread * downs),
            "round_trip": np.full(C, self.round_trip),
            "samples_per_second": np.full(C, self.samples_per_second or math.inf),
        }
        if self.table is not None:
            rows = read_table(self.table)
            chosen = rng.integers(0, len(rows["uplink_mbit"]), C)
            columns |= {name: values[chosen] for name, values in rows.items()}
        tempo = np.exp(self.speed_spread * tempos)
        numbers = {
            "uplink": columns["uplink_mbit"] * _BITS_PER_MBIT,
            "downlink": columns["downlink_mbit"] * _BITS_PER_MBIT,
            "round_trip": columns["round_trip"],
            "speed": columns["samples_per_second"] * tempo,
            "fit_seconds": self.fit_seconds / tempo,
            "uplink_jitter": preset.uplink_jitter,
            "downlink_jitter": preset.downlink_jitter,
            "dropout": self.dropout,
            "loss": self.loss,
            "deadline": self.deadline or math.inf,
        }
        return Links(**{name: np.asarray(value, np.float32) for name, value in numbers.items()})

    def __str__(self) -> str:
        preset = self.preset
        text = f"{self.name}: "
        if self.table is not None:
            text += f"clients of {self.table}"
        else:
            text += f"{preset.uplink_mbit:.3g} Mbit/s up, {preset.downlink_mbit:.3g} Mbit/s down"
        text += f", {self.round_trip * 1000:g} ms"
        if self.samples_per_second is not None:
            text += f", {self.samples_per_second:g} samples/s"
        for name in ("dropout", "loss"):
            if getattr(self, name):
                text += f", {name} {100 * getattr(self, name):g} %"
        return text + (f", deadline {self.deadline:g} s" if self.deadline is not None else "")
