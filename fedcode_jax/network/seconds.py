"""From the bytes of a round to simulated seconds, inside the program, and who is in time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.network.links import Conditions

Array = Any


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
    found = ~met.away & (sum(phases) <= deadline) & ~met.lost
    return found if met.vanished is None else found & ~met.vanished


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
        u_i = [up_i > 0] (round_trip_i + up_i / uplink_i + delay_i)

    A direction in which nothing is sent costs no time, not even a round trip. The round lasts until
    the slowest client that takes part is done, or until the deadline: if that comes first, or if
    an upload was lost or its client vanished, for which the server waits. Without a deadline it
    takes a lost upload for arrived late, and does not wait longer. A round in which nobody takes
    part lasts until the deadline, or no time.

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
      >>> from fedcode_jax.network import conditions
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
    missing = met.lost if met.vanished is None else met.lost | met.vanished
    waits_in_vain = jnp.any(present & missing & (up_bits > 0)) | ~jnp.any(present)
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

    sent_share = share(total, _in_transfer(met, up_bits))
    if met.vanished is not None:
        sent_share = jnp.where(met.vanished, 0.0, sent_share)
    return Timing(
        seconds=seconds,
        computing=computing,
        sending=sending,
        waiting=jnp.maximum(seconds - computing - sending, 0),  # rounding may take it below
        received_share=share(down, down_bits / met.downlink),
        sent_share=sent_share,
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
      conditions: of the M clients; their usual rates count, and no fault, which nobody foresees.
      deadline: f32[], seconds, or infinite.
      down_bits: [M], as of ``timing``, and so on.
      up_bits: [M].
      samples: [M].
      fits: whether clients fit codebooks.

    Returns:
      bool[M].
    """
    usual = conditions._replace(vanished=None, delay=None)
    rates = conditions.usual_downlink, conditions.usual_uplink
    return sum(_phases(usual, rates, down_bits, up_bits, samples, fits)) <= deadline


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
    up = _sending(conditions, up_bits, rates[1])
    if conditions.delay is not None:
        up = up + jnp.where(up_bits > 0, conditions.delay, 0.0)
    if conditions.vanished is not None:
        up = jnp.where(conditions.vanished, 0.0, up)
    return down, work, up


def _in_transfer(met: Conditions, up_bits: jax.Array) -> jax.Array:
    """Seconds f32[M] that uploads are on the way, a delay spread evenly over them."""
    seconds = up_bits / met.uplink
    return seconds if met.delay is None else seconds + jnp.where(up_bits > 0, met.delay, 0.0)


def _sending(conditions: Conditions, bits: jax.Array, rate: jax.Array) -> jax.Array:
    """Seconds to send bits at a rate, the round trip included; none where nothing is sent."""
    return jnp.where(bits > 0, conditions.round_trip + bits / rate, 0.0)
