"""From the bytes of a round and the clients' links to simulated seconds, inside the program."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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


class Timing(NamedTuple):
    """How a round went.

    Attributes:
      seconds: f32[], from its start to its end.
      computing: f32[], of these, mean over the clients that took part.
      sending: f32[], either way, likewise, round trips included.
      waiting: f32[], likewise; the three add up to ``seconds``.
      received_share: f32[M], share of what the server sent that came down before the round ended.
      sent_share: f32[M], share of the upload that was sent before the round ended.
    """

    seconds: jax.Array
    computing: jax.Array
    sending: jax.Array
    waiting: jax.Array
    received_share: jax.Array
    sent_share: jax.Array


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


def received(conditions: Conditions, deadline: Array, down_bits: jax.Array) -> jax.Array:
    """Which clients have what the server sent them before the round ends.

    Args:
      conditions: of M clients, or of one.
      deadline: f32[], seconds, or infinite.
      down_bits: [M], bits sent to each client.

    Returns:
      bool[M]; false for those that are away.
    """
    met = conditions
    return ~met.away & (_sending(met, down_bits, met.downlink) <= deadline)


def arrives(
    conditions: Conditions,
    deadline: Array,
    down_bits: jax.Array,
    up_bits: jax.Array,
    samples: jax.Array,
    fits: Array = False,
) -> jax.Array:
    """Which uploads reach the server whole and in time.

    Args:
      conditions: of M clients, or of one.
      deadline: f32[], seconds, or infinite.
      down_bits: [M], as of ``timing``, and so on.
      up_bits: [M].
      samples: [M].
      fits: whether clients fit codebooks.

    Returns:
      bool[M]; false for those that are away.
    """
    met = conditions
    phases = _phases(met, (met.downlink, met.uplink), down_bits, up_bits, samples, fits)
    return ~met.away & (sum(phases) <= deadline) & ~met.lost


def timing(
    conditions: Conditions,
    deadline: Array,
    down_bits: jax.Array,
    up_bits: jax.Array,
    samples: jax.Array,
    fits: Array = False,
) -> Timing:
    """Seconds of one synchronous round, and what of it was sent.

    Client i takes d_i + c_i + u_i seconds:

        d_i = [down_i > 0] (round_trip_i + down_i / downlink_i)
        c_i = samples_i / speed_i + [it fits codebooks] fit_seconds_i
        u_i = [up_i > 0] (round_trip_i + up_i / uplink_i)

    A direction in which nothing is sent costs no time, not even a round trip. The round lasts until
    the slowest client that takes part is done, or until the deadline: if that comes first, or if
    an upload was lost, for which the server waits. Without a deadline it takes a lost upload for
    arrived late, and does not wait longer. A round in which nobody takes part lasts until the
    deadline, or no time.

    Args:
      conditions: of the M clients.
      deadline: f32[], seconds, or infinite.
      down_bits: [M], bits sent to each client.
      up_bits: [M], bits of each upload.
      samples: [M], samples each client trains on, epochs counted.
      fits: whether clients fit codebooks.

    Returns:
      The timing.

    Example:
      One client sends 1 kB, the other 2 kB, at 1 Mbit/s; both receive 10 kB at 10 Mbit/s.

      >>> from fedcode_jax.network import Network
      >>> links = Network().links(2)
      >>> met = conditions(links, jnp.arange(2), jax.random.key(0))
      >>> bits = 8 * jnp.array([1000, 2000])
      >>> done = timing(met, links.deadline, jnp.full(2, 80_000), bits, jnp.zeros(2))
      >>> f"{done.seconds:.3f} {done.sending:.3f} {done.waiting:.3f}"
      '0.124 0.120 0.004'
    """
    met, present = conditions, ~conditions.away
    rates = met.downlink, met.uplink
    down, work, up = _phases(met, rates, down_bits, up_bits, samples, fits)
    total = down + work + up
    last = jnp.max(jnp.where(present, total, 0.0), initial=0.0)
    waits_in_vain = jnp.any(present & met.lost & (up_bits > 0)) | ~jnp.any(present)
    ends = jnp.isfinite(deadline) & (waits_in_vain | (last > deadline))
    seconds = jnp.where(ends, deadline, last)

    def mean(values: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(present, values, 0.0)) / jnp.maximum(jnp.sum(present), 1)

    # What the end of the round cuts off was neither computed nor sent.
    downloaded = jnp.minimum(down, seconds)
    computed = jnp.clip(seconds - down, 0.0, work)
    uploaded = jnp.clip(seconds - down - work, 0.0, up)
    computing, sending = mean(computed), mean(downloaded + uploaded)

    def share(end: jax.Array, transfer: jax.Array) -> jax.Array:
        """Of a transfer that ends at a time, as much as comes before the round ends."""
        sent = jnp.clip(seconds - (end - transfer), 0.0, transfer)
        part = jnp.where(end <= seconds, 1.0, sent / jnp.where(transfer > 0, transfer, 1.0))
        return jnp.where(present, part, 0.0)

    return Timing(
        seconds=seconds,
        computing=computing,
        sending=sending,
        waiting=seconds - computing - sending,
        received_share=share(down, down_bits / met.downlink),
        sent_share=share(total, up_bits / met.uplink),
    )


def deliverable(
    conditions: Conditions,
    deadline: Array,
    down_bits: jax.Array,
    up_bits: jax.Array,
    samples: jax.Array,
    fits: Array = False,
) -> jax.Array:
    """Which clients can expect to deliver an upload of so many bits by the deadline.

    Args:
      conditions: of the M clients; their usual rates count.
      deadline: f32[], seconds, or infinite.
      down_bits: [M], as of ``timing``, and so on.
      up_bits: [M].
      samples: [M].
      fits: whether clients fit codebooks.

    Returns:
      bool[M].
    """
    rates = conditions.usual_downlink, conditions.usual_uplink
    return sum(_phases(conditions, rates, down_bits, up_bits, samples, fits)) <= deadline


def _phases(
    conditions: Conditions,
    rates: tuple[jax.Array, jax.Array],
    down_bits: jax.Array,
    up_bits: jax.Array,
    samples: jax.Array,
    fits: Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Seconds f32[M] of receiving, computing and sending, at rates down and up."""
    work = samples / conditions.speed + jnp.where(fits, conditions.fit_seconds, 0.0)
    down = _sending(conditions, down_bits, rates[0])
    return down, work, _sending(conditions, up_bits, rates[1])


def _sending(conditions: Conditions, bits: jax.Array, rate: jax.Array) -> jax.Array:
    """Seconds to send bits at a rate, the round trip included; none where nothing is sent."""
    return jnp.where(bits > 0, conditions.round_trip + bits / rate, 0.0)
