"""The links and devices of clients, and what those of a round meet with."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import randomness
from fedcode_jax.errors import ConfigError
from fedcode_jax.limits import SMALLEST, refuse

Array = Any


class Links(NamedTuple):
    """The links and devices of C clients, traced.

    ``Network.links`` draws them. Of those that are made by hand nothing is checked here, since they
    may be traced: ``check_links`` does it, before they are used.

    Attributes:
      uplink: f32[C], bits/s from each client to the server, 10^-3 to 10^30.
      downlink: f32[C], bits/s from the server to each client, likewise.
      round_trip: f32[C], seconds, 0 to 10^30.
      speed: f32[C], samples/s in training, from 10^-9; infinite where training takes no time.
      fit_seconds: f32[C], to fit its codebooks once, 0 to 10^30.
      uplink_jitter: f32[], coefficient of variation of a client's uplink among rounds, 0 to 10^3.
      downlink_jitter: f32[], of its downlink, likewise.
      dropout: f32[], probability of being away for a round, 0 to 1.
      loss: f32[], probability that an upload is lost, 0 to 1.
      deadline: f32[], seconds after which a round ends, above 0; infinite for none.
    """

    uplink: Array
    downlink: Array
    round_trip: Array
    speed: Array
    fit_seconds: Array
    uplink_jitter: Array
    downlink_jitter: Array
    dropout: Array
    loss: Array
    deadline: Array


_LIMITS = {
    "uplink": (1e-3, 1e30),
    "downlink": (1e-3, 1e30),
    "round_trip": (0.0, 1e30),
    "speed": (1e-9, math.inf),
    "fit_seconds": (0.0, 1e30),
    "uplink_jitter": (0.0, 1e3),
    "downlink_jitter": (0.0, 1e3),
    "dropout": (0.0, 1.0),
    "loss": (0.0, 1.0),
    "deadline": (SMALLEST, math.inf),
}
_BY_CLIENT = Links._fields[:5]


def check_links(links: Links) -> Links:
    """Checks links that were made by hand: with what is let through no time is NaN.

    Args:
      links: arrays or plain numbers, not traced.

    Returns:
      The same as NumPy arrays of float32, as ``Links`` says.

    Raises:
      ConfigError: names the first field and client that cannot be, or a shape that does not fit.

    Example:
      >>> from fedcode_jax.network import Network
      >>> check_links(Network().links(3)._replace(uplink=[1e6, 0, 1e6]))
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: links.uplink: 0.0 of client 1 cannot be used;
      it must be from 0.001 to 1e+30
    """
    with np.errstate(over="ignore"):
        found = Links(*(np.asarray(value, np.float32) for value in links))
    C = found.uplink.size
    for name, values in found._asdict().items():
        shape = (C,) if name in _BY_CLIENT else ()
        if values.shape != shape:
            refuse(f"links.{name}", values.shape, f"of shape {shape}, {C} being the uplinks")
        low, high = _LIMITS[name]
        wrong = np.flatnonzero(~((values >= np.float32(low)) & (values <= np.float32(high))))
        if len(wrong):
            whose = f" of client {wrong[0]}" if name in _BY_CLIENT else ""
            raise ConfigError(
                f"links.{name}: {values.ravel()[wrong[0]]}{whose} cannot be used; it must be from"
                f" {low:.3g} to {high:.3g}"
            )
    return found


class Conditions(NamedTuple):
    """What the M clients of a round meet with: a row each of the first five of ``Links``.

    Attributes:
      uplink: f32[M], bits/s in this round.
      downlink: f32[M], bits/s in this round.
      round_trip: f32[M], seconds.
      speed: f32[M], samples/s.
      fit_seconds: f32[M].
      usual_uplink: f32[M], bits/s without this round's variation, which nobody knows ahead.
      usual_downlink: f32[M], bits/s.
      away: bool[M], takes no part in this round.
      lost: bool[M], its upload will not arrive.
      vanished: bool[M], it will send nothing; None where nobody vanishes.
      delay: f32[M], seconds by which its upload takes longer; None where none does.
    """

    uplink: jax.Array
    downlink: jax.Array
    round_trip: jax.Array
    speed: jax.Array
    fit_seconds: jax.Array
    usual_uplink: jax.Array
    usual_downlink: jax.Array
    away: jax.Array
    lost: jax.Array
    vanished: jax.Array | None = None
    delay: jax.Array | None = None


@randomness.standardised
def conditions(links: Links, clients: jax.Array, key: jax.Array) -> Conditions:
    """Draws what the clients of a round meet with.

    A client's rate in a round is its own rate times exp(s z - s^2 / 2), of mean 1 and the given
    coefficient of variation: s^2 = ln(1 + jitter^2).

    Args:
      links: of all clients.
      clients: i32[M], those of the round.
      key: of the round.

    Returns:
      The conditions. A client's draws depend on its number, not on its place among the M.
    """
    links = Links(*map(jnp.asarray, links))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, clients)
    noise = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 0), (2,)))(keys)
    luck = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 1), (2,)))(keys)

    def varied(rate: jax.Array, jitter: jax.Array, z: jax.Array) -> jax.Array:
        variance = jnp.log1p(jnp.square(jitter))
        return rate * jnp.exp(jnp.sqrt(variance) * z - variance / 2)

    uplink, downlink = links.uplink[clients], links.downlink[clients]
    return Conditions(
        uplink=varied(uplink, links.uplink_jitter, noise[:, 0]),
        downlink=varied(downlink, links.downlink_jitter, noise[:, 1]),
        round_trip=links.round_trip[clients],
        speed=links.speed[clients],
        fit_seconds=links.fit_seconds[clients],
        usual_uplink=uplink,
        usual_downlink=downlink,
        away=luck[:, 0] < links.dropout,
        lost=luck[:, 1] < links.loss,
    )
