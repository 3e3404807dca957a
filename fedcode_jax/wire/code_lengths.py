"""Code lengths of entropy-coded codes, in JAX: what the coder will need.

It spends -log2 p on a symbol of probability p, to within a word on a whole message. These are the
`probabilities` as the coder rounds them, for all codes at once: an adaptive model's
counts before each block are running sums over blocks.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import codebook
from fedcode_jax.wire import probabilities, rounding
from fedcode_jax.wire.ans import START_BITS
from fedcode_jax.wire.format import VALUES_PER_BYTE
from fedcode_jax.wire.sections import Coded


def payload_bytes(bits: jax.Array, size: int) -> jax.Array:
    """Bytes of a payload: whole words of 32 bits, filled to the least length.

    Args:
      bits: f32[], code length of all codes.
      size: how many codes there are.

    Returns:
      u32[].
    """
    words = jnp.ceil(bits / 32).astype(jnp.uint32)
    return 4 * jnp.maximum(words, np.uint32(-(-size // (4 * VALUES_PER_BYTE))))


def static_bits(codes: jax.Array, num_symbols: int, used: jax.Array | int) -> jax.Array:
    """Code length under a table of levels made for these codes.

    Args:
      codes: u8[n] or u16[n], n >= 1.
      num_symbols: K, static.
      used: i32[], the symbols that can occur, above every code.

    Returns:
      f32[], bits, without the table, with those that the coder starts from; 0 where all codes
      are the same.

    Example:
      >>> round(float(static_bits(jnp.array([0, 1, 2, 3], jnp.uint8), 4, 4)), 3)
      32.0
    """
    counts = jnp.zeros(num_symbols, jnp.int32).at[codes.astype(jnp.int32)].add(1)
    share = counts.astype(jnp.float32) / jnp.max(counts).astype(jnp.float32)
    levels = jnp.round(probabilities.LEVELS + 8 * jnp.log2(jnp.where(counts > 0, share, 1)))
    levels = jnp.where(counts > 0, jnp.maximum(levels, 1), 0).astype(jnp.int32)
    frequency = jnp.asarray(probabilities.LEVEL_FREQUENCIES, jnp.int32)[levels]
    until = jnp.cumsum(frequency)
    before, total = until - frequency, until[-1]
    left, right = (rounding.share(part, total) for part in (before, until))
    bits = rounding.symbol_bits(left, right, until == total, used)
    bits = START_BITS + jnp.sum(jnp.where(counts > 0, counts * bits, 0))
    return jnp.where(jnp.sum(counts > 0) > 1, bits, 0)


def adaptive_bits(
    codes: jax.Array, num_symbols: int, used: jax.Array | int, layers: tuple[int, ...]
) -> jax.Array:
    """Code length under a model that learns layer by layer, block by block.

    Args:
      codes: u8[n] or u16[n], n >= 1.
      num_symbols: K, static.
      used: i32[], the symbols that can occur, above every code.
      layers: codes of each layer, n together.

    Returns:
      f32[], bits, with those that the coder starts from.
    """
    ends = probabilities.block_ends(layers, probabilities.ADAPTIVE_GROWTH)
    layer_of = np.searchsorted(np.cumsum(layers), np.array(ends) - 1, side="right")
    first_block = np.searchsorted(layer_of, layer_of)
    block = _block_of(codes.size, ends)
    counts = jnp.zeros((len(ends), num_symbols), jnp.int32)
    counts = counts.at[block, codes.astype(jnp.int32)].add(1)
    before = jnp.cumsum(counts, axis=0) - counts
    own = before - before[first_block]
    possible = jnp.arange(num_symbols) < used
    shared = jnp.where(possible, 1 + 2 * before, 0)
    until_own, until_shared = jnp.cumsum(own, axis=1), jnp.cumsum(shared, axis=1)
    seen, mass = until_own[:, -1:], until_shared[:, -1:]
    until = _mixed(until_own, until_shared, seen, mass)
    first = jnp.zeros((len(ends), 1), jnp.uint32)
    before_each = jnp.concatenate([first, until[:, :-1]], axis=1)
    bits = rounding.symbol_bits(before_each, until, jnp.arange(num_symbols) == used - 1, used)
    return START_BITS + jnp.sum(jnp.where(counts > 0, counts * bits, 0))


def _mixed(own: jax.Array, shared: jax.Array, seen: jax.Array, mass: jax.Array) -> jax.Array:
    """The share of codes in an adaptive model: own counts, and the weight of 32 of the shared.

    Args:
      own: i32[...], how often they were seen in this context; of ``seen`` codes.
      shared: i32[...], what they have of the shared distribution; of ``mass``.
      seen: i32[...].
      mass: i32[...].

    Returns:
      u32[...], in units of 2^-32.
    """
    total = seen + probabilities.SHARED_WEIGHT
    learnt, expected = rounding.share(own, total), rounding.share(shared, mass)
    weight = rounding.share(jnp.full_like(total, probabilities.SHARED_WEIGHT), total)
    # Of nothing seen, and of all symbols, the product with 1: shares wrap around there.
    expected = jnp.where(seen == 0, expected, rounding.product(expected, weight))
    return learnt + jnp.where((shared == mass) & (seen > 0), weight, expected)


def conditional_bits(section: Coded, used: jax.Array | int, known: Coded) -> jax.Array:
    """Code length of a section's codes given the codes that the receiver holds.

    Args:
      section: codes [n], n >= 1, and centers f32[K] or f32[K, B].
      used: i32[], the symbols that can occur, above every code.
      known: codes of the same shape, under its own centers f32[K'] or f32[K', B].

    Returns:
      f32[], bits, with those that the coder starts from.
    """
    K, n = section.num_clusters, section.codes.size
    ends = probabilities.block_ends((n,), probabilities.CONDITIONAL_GROWTH)
    block = _block_of(n, ends)
    context, offsets = contexts_and_offsets(section, known)
    codes = jnp.asarray(section.codes).astype(jnp.int32)
    difference = codes - offsets[context] + K - 1

    own = jnp.zeros((len(ends), offsets.size, K), jnp.int32).at[block, context, codes].add(1)
    own = jnp.cumsum(jnp.cumsum(own, axis=0) - own, axis=2)
    own = jnp.pad(own, ((0, 0), (0, 0), (1, 0)))
    shared = jnp.zeros((len(ends), 2 * K - 1), jnp.int32).at[block, difference].add(2)
    start = jnp.asarray(probabilities.shared_start(K, peaked=True), jnp.int32)
    shared = jnp.cumsum(shared, axis=0) - shared + start
    running = jnp.pad(jnp.cumsum(shared, axis=1), ((0, 0), (1, 0)))
    first = K - 1 - offsets
    seen, mass = own[:, :, -1], running[:, first + used] - running[:, first]

    def until(code: jax.Array) -> jax.Array:
        in_shared = running[block, first[context] + code] - running[block, first[context]]
        here = block, context
        return _mixed(own[block, context, code], in_shared, seen[here], mass[here])

    bits = rounding.symbol_bits(until(codes), until(codes + 1), codes == used - 1, used)
    return START_BITS + jnp.sum(bits)


def contexts_and_offsets(section: Coded, known: Coded) -> tuple[jax.Array, jax.Array]:
    """The context of each code, and the code that each context expects.

    Args:
      section: the codes to come.
      known: those that the receiver holds.

    Returns:
      i32[n], the known code, or its group of neighbours where there are many; and i32[X], the
      center of ``section`` nearest to the known center (of the middle of the group).
    """
    width, count = probabilities.contexts_of(known.num_clusters)
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
