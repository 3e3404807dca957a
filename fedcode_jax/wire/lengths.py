"""Ideal code lengths of entropy-coded codes, in JAX: what the range coder will need.

A range coder spends -log2 p on a symbol of probability p, to within a word on a whole message.
These are the probabilities of ``models``, for all codes at once: an adaptive model's counts
before each block are running sums over blocks.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import codebook
from fedcode_jax.wire import models
from fedcode_jax.wire.message import Coded


def static_bits(codes: jax.Array, num_symbols: int) -> jax.Array:
    """Code length under a table of levels made for these codes.

    Args:
      codes: u8[n] or u16[n], n >= 1.
      num_symbols: above every code.

    Returns:
      f32[], bits, without the table.

    Example:
      >>> float(static_bits(jnp.array([0, 1, 2, 3], jnp.uint8), 4))
      8.0
    """
    counts = jnp.zeros(num_symbols, jnp.int32).at[codes.astype(jnp.int32)].add(1)
    counts = counts.astype(jnp.float32)
    share = counts / jnp.max(counts)
    levels = jnp.round(models.LEVELS + 8 * jnp.log2(jnp.where(counts > 0, share, 1)))
    levels = jnp.where(counts > 0, jnp.maximum(levels, 1), 0).astype(jnp.int32)
    frequency = jnp.asarray(models.LEVEL_FREQUENCIES, jnp.float32)[levels]
    return jnp.sum(counts * (jnp.log2(jnp.sum(frequency)) - jnp.log2(jnp.maximum(frequency, 1))))


def adaptive_bits(
    codes: jax.Array, num_symbols: int, used: jax.Array, layers: tuple[int, ...]
) -> jax.Array:
    """Code length under a model that learns layer by layer, block by block.

    Args:
      codes: u8[n] or u16[n], n >= 1.
      num_symbols: K, static.
      used: i32[], the symbols that can occur, above every code.
      layers: codes of each layer, n together.

    Returns:
      f32[], bits.
    """
    ends = models.block_ends(layers, models.ADAPTIVE_GROWTH)
    layer_of = np.searchsorted(np.cumsum(layers), np.array(ends) - 1, side="right")
    first_block = np.searchsorted(layer_of, layer_of)
    block = _block_of(codes.size, ends)
    counts = jnp.zeros((len(ends), num_symbols), jnp.int32)
    counts = counts.at[block, codes.astype(jnp.int32)].add(1)
    before = jnp.cumsum(counts, axis=0) - counts
    own = (before - before[first_block]).astype(jnp.float32)
    possible = jnp.arange(num_symbols) < used
    shared = jnp.where(possible, 1 + 2 * before.astype(jnp.float32), 0)
    shared = shared / jnp.sum(shared, axis=1, keepdims=True)
    weight = own + models.SHARED_WEIGHT * shared
    total = jnp.sum(own, axis=1, keepdims=True) + models.SHARED_WEIGHT
    bits = jnp.log2(total) - jnp.log2(jnp.where(possible, weight, 1))
    return jnp.sum(counts * bits)


def conditional_bits(section: Coded, used: jax.Array, known: Coded) -> jax.Array:
    """Code length of a section's codes given the codes that the receiver holds.

    Args:
      section: codes [n], n >= 1, and centers f32[K] or f32[K, B].
      used: i32[], the symbols that can occur, above every code.
      known: codes of the same shape, under its own centers f32[K'] or f32[K', B].

    Returns:
      f32[], bits.
    """
    K, n = section.num_clusters, section.codes.size
    ends = models.block_ends((n,), models.CONDITIONAL_GROWTH)
    block = _block_of(n, ends)
    context, offsets = contexts_and_offsets(section, known)
    codes = jnp.asarray(section.codes).astype(jnp.int32)
    difference = codes - offsets[context] + K - 1

    own = jnp.zeros((len(ends), offsets.size, K), jnp.int32).at[block, context, codes].add(1)
    own = jnp.cumsum(own, axis=0) - own
    total = jnp.sum(own, axis=2)
    shared = jnp.zeros((len(ends), 2 * K - 1), jnp.int32).at[block, difference].add(2)
    start = jnp.asarray(models.shared_start(K, peaked=True), jnp.int32)
    shared = jnp.cumsum(shared, axis=0) - shared + start
    running = jnp.pad(jnp.cumsum(shared, axis=1), ((0, 0), (1, 0)))
    first = K - 1 - offsets
    mass = running[:, first + used] - running[:, first]

    expected = shared[block, difference] / mass[block, context]
    weight = own[block, context, codes] + models.SHARED_WEIGHT * expected
    return jnp.sum(jnp.log2(total[block, context] + models.SHARED_WEIGHT) - jnp.log2(weight))


def contexts_and_offsets(section: Coded, known: Coded) -> tuple[jax.Array, jax.Array]:
    """The context of each code, and the code that each context expects.

    Args:
      section: the codes to come.
      known: those that the receiver holds.

    Returns:
      i32[n], the known code, or its group of neighbours where there are many; and i32[X], the
      center of ``section`` nearest to the known center (of the middle of the group).
    """
    width, count = models.contexts_of(known.num_clusters)
    middle = np.minimum(np.arange(count) * width + width // 2, known.num_clusters - 1)
    centers = jnp.asarray(known.centers)[middle]
    offsets = codebook.encode(jnp.asarray(section.centers), centers.reshape(-1))
    context = jnp.asarray(known.codes).astype(jnp.int32) // width
    return context, offsets.astype(jnp.int32)


def _block_of(size: int, ends: list[int]) -> jax.Array:
    """The block of each place, i32[size]."""
    # The barrier keeps XLA from computing all of it while it compiles.
    limits = jax.lax.optimization_barrier(jnp.array(ends, jnp.int32))
    return jnp.searchsorted(limits, jnp.arange(size, dtype=jnp.int32), side="right")
