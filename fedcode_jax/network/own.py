"""A network of one's own: links for every client, checked."""

import dataclasses
from typing import Any

import jax
import numpy as np

from fedcode_jax.errors import ConfigError
from fedcode_jax.network.links import Links, check_links
from fedcode_jax.network.presets import Network


@dataclasses.dataclass(frozen=True, eq=False)
class OwnLinks:
    """Links that somebody made.

    Attributes:
      name: what the network is called.
      made: the links.
    """

    name: str
    made: Links

    def links(self, num_clients: int, seed: int = 0) -> Links:
        """The links, of as many clients as there are.

        Raises:
          ConfigError: they are of another number of clients, or cannot be.
        """
        made = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), self.made)
        for name in ("uplink", "downlink", "round_trip", "speed", "fit_seconds"):
            shape = getattr(made, name).shape
            if shape != (num_clients,):
                raise ConfigError(
                    f"network: {name} of {self.name} has shape {shape}; there are {num_clients} "
                    "clients"
                )
        return check_links(made)

    def __str__(self) -> str:
        return self.name


def as_network(given: Any, name: str = "network") -> Network | OwnLinks:
    """The network that somebody made.

    Args:
      given: a `Network`, or `Links` of all clients.
      name: what it is called, also in errors.

    Returns:
      What has ``links(num_clients, seed)``.

    Raises:
      ConfigError: something else was given.
    """
    if isinstance(given, Network | OwnLinks):
        return given
    if isinstance(given, Links):
        return OwnLinks(name, given)
    raise ConfigError(
        f"network: {name} gives {type(given).__name__}; it must be a network.Network or the "
        "network.Links of all clients"
    )
