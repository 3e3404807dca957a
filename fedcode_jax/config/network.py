"""The settings of the network: links and devices, on which simulated time is reckoned."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice
from fedcode_jax.errors import ConfigError
from fedcode_jax.limits import check_probability


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig(Choice):
    """The links and devices on which simulated time is reckoned: a scenario, not a standard."""

    section: ClassVar[str] = "network."
    default: ClassVar[str] = "mobile"
    inputs: ClassVar[frozenset[str]] = frozenset({"num_clients", "seed"})

    name: Annotated[str, checks.text] = ""
    """Links: mobile (1 Mbit/s up, 10 down), symmetric (2 both ways), field_guide (0.25 and 0.75
    MB/s), flash (log-normal fit to measured devices), or table, your own file; or module:factory,
    links of your own."""

    def factory(self) -> Callable[..., Any]:
        """What makes the network."""
        from fedcode_jax.network import Network

        return functools.partial(Network, name=self.name)

    def build(self, **inputs: Any) -> Any:
        """The network, which draws ``links(num_clients, seed)``."""
        from fedcode_jax.network import as_network

        return as_network(super().build(**inputs), self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Devices(NetworkConfig):
    round_trip: Annotated[float, checks.real(0, 1e30)] = 0.05
    """Round-trip time in seconds, for each exchange."""
    link_jitter: Annotated[float | None, checks.real(0, 1e3)] = None
    """Coefficient of variation of a client's rates among rounds; None: as the name says."""
    samples_per_second: Annotated[float | None, checks.real(1e-9, 1e30)] = None
    """Training speed of the median client; None: training takes no time."""
    fit_seconds: Annotated[float, checks.real(0, 1e30)] = 0.0
    """Seconds that the median client takes to fit its codebooks, once a round."""
    speed_spread: Annotated[float, checks.real(0, 1e3)] = 0.0
    """Standard deviation of ln(speed) among clients."""
    dropout: Annotated[float, check_probability] = 0.0
    """Probability that a client is away for a round: nothing is sent either way."""
    loss: Annotated[float, check_probability] = 0.0
    """Probability that an upload is lost after it was sent."""
    deadline: Annotated[float | None, checks.real(0, above=True)] = None
    """Seconds after which the server ends a round without those who are late; None: it waits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset(_Devices):
    """Links as a source describes them, or as you change them."""

    name: str = "mobile"
    names: ClassVar[tuple[str, ...]] = ("mobile", "symmetric", "field_guide", "flash")
    uplink_mbit: Annotated[float | None, checks.real(1e-9, 1e24)] = None
    """Median uplink of a client in Mbit/s; None: as the name says."""
    downlink_mbit: Annotated[float | None, checks.real(1e-9, 1e24)] = None
    """Median downlink of a client in Mbit/s; None: as the name says."""
    link_spread: Annotated[float | None, checks.real(0, 1e3)] = None
    """Standard deviation of ln(rate) among clients; None: as the name says."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table(_Devices):
    """Links of a file of your own."""

    name: str = "table"
    table: Annotated[str | None, checks.path] = None
    """CSV file with a client a row, columns uplink_mbit and downlink_mbit, and if wanted round_trip
    and samples_per_second; clients draw from its rows."""

    def check_together(self) -> None:
        """Checks that there is a table."""
        if self.table is None:
            raise ConfigError(
                "network.table: is not set; name the CSV file with your clients' links"
            )
        self.build()
