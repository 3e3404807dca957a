"""Deep gradient compression: the largest values of what momentum has gathered."""

import jax
import jax.numpy as jnp

from fedcode_jax import randomness, wire
from fedcode_jax.compress.base import Compressor, finite
from fedcode_jax.compress.topk import largest
from fedcode_jax.limits import check_probability, check_real
from fedcode_jax.wire import Dense, Sparse

Memory = tuple[jax.Array, jax.Array]


@randomness.standard_parts
def dgc(fraction: float = 0.001, momentum: float = 0.9, clip: float = 0.0) -> Compressor:
    """Deep gradient compression, of changes: what is left out gathers momentum until it is sent.

    With momentum m, residual v, and the vector u, clipped to an L2 norm,

        m <- momentum m + u,   v <- v + m,   send the k values of v of largest magnitude,

    k = ceil(fraction n), and there both m and v become 0 (momentum factor masking). Two steps of
    the paper are not here: its threshold is of a sample of |v|, this one is exact; and its
    fraction falls to the one given in the first epochs.

    What is sent of a change adds up to as much as 1 / (1 - momentum) times the change, since the
    momentum stands for that of the optimiser which has the sum. With momentum 0 and no clipping
    this is ``error_feedback`` of ``topk``.

    A value takes about fraction (32 + log2(1 / fraction) + 1.5) bits: 0.043 at 0.1 %. A client
    keeps m and v, 8 bytes a value.

    Args:
      fraction: of the values that are sent, above 0 and at most 1.
      momentum: 0 .. below 1.
      clip: the largest L2 norm of u, of each compressed group; 0 for any.

    Returns:
      The compressor, biased and with a memory of its own: it goes up only, and not into
      ``error_feedback``. What did not arrive goes back to v; m stays 0 there.

    Raises:
      ConfigError: a setting that is not allowed.

    Source: Lin et al., arXiv 1712.01887, algorithm 4.

    Example:
      >>> rare = dgc(fraction=0.5, momentum=0.5)
      >>> _, memory = rare.compress(rare.init(2), jnp.array([2.0, 1.0]), jax.random.key(0))
      >>> section, _ = rare.compress(memory, jnp.array([0.0, 1.0]), jax.random.key(1))
      >>> rare.decompress(section, 2).tolist()
      [0.0, 2.5]
    """
    check_real("compressor.fraction", fraction, 0, 1, above=True)
    check_probability("compressor.momentum", momentum)
    check_real("compressor.clip", clip, 0)

    def compress(memory: Memory, vector: jax.Array, key: jax.Array) -> tuple[Sparse, Memory]:
        m, v = memory
        if clip > 0:
            norm = jnp.linalg.norm(vector)
            # Not of what is no number, which would then be all of the vector.
            vector = vector * jnp.where(norm > clip, clip / norm, 1)
        m = momentum * m + vector
        v = v + m
        positions = largest(v, fraction)
        section = Sparse(positions, Dense(v[positions]), vector.size)
        return section, (finite(m.at[positions].set(0)), finite(v.at[positions].set(0)))

    def undo(memory: Memory, vector: jax.Array) -> Memory:
        m, v = memory
        return m, finite(v + vector)

    return Compressor(
        init=lambda size: (jnp.zeros(size), jnp.zeros(size)),
        compress=compress,
        decompress=wire.values,
        undo=undo,
        has_memory=True,
    )
