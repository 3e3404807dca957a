"""Faults: what goes wrong with clients, uploads and the server, drawn for every round."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.algorithms import Work
from fedcode_jax.network import Conditions
from fedcode_jax.wire import Kind

_STREAM = 0xFA17  # keeps these draws apart from other uses of the same seed


def hostile_clients(num_clients: int, share: float, seed: int) -> np.ndarray:
    """Chooses the hostile clients of a run.

    Args:
      num_clients: C.
      share: of them that are hostile, rounded to whole clients.
      seed: of the choice.

    Returns:
      bool[C].

    Example:
      >>> hostile_clients(10, 0.2, seed=0).sum()
      np.int64(2)
    """
    chosen = np.random.default_rng([_STREAM, seed]).permutation(num_clients)
    return chosen < round(share * num_clients)


class Faults(NamedTuple):
    """What may go wrong in a run with faults, traced; probabilities are of each round.

    Attributes:
      vanish: f32[], that a client sends nothing after it has trained.
      late: f32[], that an upload takes longer.
      late_seconds: f32[], by how much.
      corrupt: f32[], that an upload is damaged on the way.
      not_finite: f32[], that trained weights become NaN before the upload.
      hostile: bool[C], clients that scale what they trained.
      scale: f32[], by how much.
      restart: f32[], that the server restarts.
    """

    vanish: Any
    late: Any
    late_seconds: Any
    corrupt: Any
    not_finite: Any
    hostile: Any
    scale: Any
    restart: Any


class Struck(NamedTuple):
    """What strikes each client of a round, whether it comes to it or not; M clients are in it.

    Attributes:
      vanished: bool[M], it sends nothing after it has trained.
      late: bool[M], its upload takes longer.
      corrupt: bool[M], its upload is damaged on the way.
      not_finite: bool[M], its trained weights become NaN.
      factor: f32[M], of its trained weights; 1 for all but the hostile ones.
      restarted: bool[M], the server restarts in this round; the same for all.
    """

    vanished: jax.Array
    late: jax.Array
    corrupt: jax.Array
    not_finite: jax.Array
    factor: jax.Array
    restarted: jax.Array


class Befallen(NamedTuple):
    """What came of it, of one client or of M.

    Attributes:
      sound: bool[], what it trained and its upload are finite.
      silent: bool[], it is one that vanished, whether it had an upload or not.
      vanished: bool[], its upload was never sent.
      late: bool[], its upload took longer.
      corrupt: bool[], its upload reached the server damaged, and was rejected.
      not_finite: bool[], its upload was rejected before it was sent, since it is not sound.
    """

    sound: jax.Array
    silent: jax.Array
    vanished: jax.Array
    late: jax.Array
    corrupt: jax.Array
    not_finite: jax.Array


class FaultMetrics(NamedTuple):
    """What faults did in a round; M clients are in it.

    Attributes:
      vanished: bool[M], uploads that were never sent.
      late: bool[M], uploads that took longer.
      corrupt: bool[M], uploads that the server rejected as damaged.
      not_finite: bool[M], uploads that were rejected as not finite, before they were sent.
      kept: bool[M], clients that keep what they made of the round.
      restarted: bool[], the server restarted.
    """

    vanished: jax.Array
    late: jax.Array
    corrupt: jax.Array
    not_finite: jax.Array
    kept: jax.Array
    restarted: jax.Array


def strikes(faults: Faults, clients: jax.Array, key: jax.Array, restart_key: jax.Array) -> Struck:
    """Draws the faults of a round.

    A client's draws are four uniform numbers of its own key, in the order vanish, late, corrupt,
    not finite; a client that vanishes is struck by none of the others.

    Args:
      faults: the probabilities, and who is hostile.
      clients: i32[M], those of the round.
      key: of the clients' draws in this round.
      restart_key: of the server's.

    Returns:
      What strikes each. A client's draws depend on its number, not on its place among the M.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, clients)
    luck = jax.vmap(lambda k: jax.random.uniform(k, (4,)))(keys)
    vanished = luck[:, 0] < faults.vanish
    restarted = jax.random.uniform(restart_key) < faults.restart
    return Struck(
        vanished=vanished,
        late=~vanished & (luck[:, 1] < faults.late),
        corrupt=~vanished & (luck[:, 2] < faults.corrupt),
        not_finite=~vanished & (luck[:, 3] < faults.not_finite),
        factor=jnp.where(jnp.asarray(faults.hostile)[clients], faults.scale, 1.0),
        restarted=jnp.broadcast_to(restarted, clients.shape),
    )


def met_with(met: Conditions, struck: Struck, faults: Faults) -> Conditions:
    """What the clients meet with on the network, those that vanish or are late among them."""
    delay = jnp.where(struck.late, faults.late_seconds, 0.0)
    return met._replace(vanished=struck.vanished, delay=delay)


def tampered(work: Work, struck: Struck) -> Work:
    """A client's work with the weights that its upload is made of: scaled, or NaN."""

    def of_leaf(leaf: jax.Array) -> jax.Array:
        scaled = leaf * struck.factor.astype(leaf.dtype)
        return jnp.where(struck.not_finite, jnp.nan, scaled)

    return work._replace(trained=jax.tree.map(of_leaf, work.trained))


def is_finite(tree: Any) -> jax.Array:
    """Whether all floats of a tree are finite: bool[].

    Example:
      >>> bool(is_finite((jnp.ones(2), jnp.int32(3)))), bool(is_finite([jnp.array([0.0, jnp.inf])]))
      (True, False)
    """
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))


def befallen(
    struck: Struck, sound: jax.Array, kind: Any, delivered: jax.Array
) -> tuple[Befallen, jax.Array]:
    """What came of a client's faults, and whether its upload counts.

    Args:
      struck: the client's.
      sound: bool[], its trained weights and its upload are finite.
      kind: i32[], of its upload.
      delivered: bool[], the network would bring it whole and in time.

    Returns:
      What came of them, and bool[]: the upload reached the server, which read it.
    """
    sends = jnp.asarray(kind) != Kind.NOTHING
    goes = sends & ~struck.vanished
    reaches = delivered & sound & ~struck.restarted
    found = Befallen(
        sound=sound,
        silent=struck.vanished,
        vanished=sends & struck.vanished,
        late=goes & sound & struck.late,
        corrupt=sends & reaches & struck.corrupt,
        not_finite=goes & ~sound,
    )
    return found, reaches & ~found.corrupt


def sent_bits(found: Befallen, bits: jax.Array) -> jax.Array:
    """Bits of an upload; none where its client is not sound, and so does not send it."""
    return jnp.where(found.sound, bits, 0)


def nobody_is_sound(received: jax.Array, found: Befallen) -> jax.Array:
    """Whether a round came to nothing because its clients diverged: bool[].

    Args:
      received: bool[M], the clients that trained.
      found: of M clients.

    Returns:
      True if somebody is not sound and nobody who did not vanish is.
    """
    usable = received & found.sound & ~found.silent
    return jnp.any(received & ~found.sound) & ~jnp.any(usable)
