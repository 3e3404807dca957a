"""Minimal random coding of masks: which of some shared candidates looks like a sample."""

import functools

import jax
import jax.numpy as jnp

from fedcode_jax.wire import Bits


@functools.partial(jax.jit, static_argnames=("block", "bits", "count"))
def chosen(
    shared: jax.Array,
    prior: jax.Array,
    log_odds: jax.Array,
    key: jax.Array,
    *,
    block: int,
    bits: int,
    count: int = 1,
) -> jax.Array:
    """For each block of some masks, the number of a candidate that stands for a sample of it.

    The candidates m_1 .. m_N of a block, N = 2^bits, are samples of the prior p, the same at both
    ends. Of them the sender draws one by its importance, q(m_j) / p(m_j), which is

        log q(m_j) / p(m_j) = sum_i m_ji (logit q_i - logit p_i) + what all j have alike,

    for masks of independent values. What is drawn is a sample of p for N = 1, and nearly one of q
    where log N exceeds the divergence KL(q | p) of the block.

    Args:
      shared: key that both ends have.
      prior: f32[n], p, probabilities of ones; bitwise the same at both ends.
      log_odds: f32[n], logit q - logit p.
      key: of the sender's own draws.
      block: B, values of a block; the last one may have fewer.
      bits: of a number, log2 N.
      count: S, masks, each of candidates of its own.

    Returns:
      u32[S, ceil(n / B)].

    Source: Havasi et al., arXiv 1810.00440, algorithm 1; of masks, Isik et al., arXiv 2306.12625.

    Example:
      >>> shared, own, prior = jax.random.key(0), jax.random.key(1), jnp.full(8, 0.5)
      >>> wanted = jnp.array([9.0, 9.0, -9.0, -9.0, 9.0, -9.0, 9.0, -9.0])
      >>> numbers = chosen(shared, prior, wanted, own, block=4, bits=8)
      >>> ones(shared, prior, numbers, block=4).tolist()
      [1, 1, 0, 0, 1, 0, 1, 0]
    """
    odds, rows = _rows(log_odds, block), _rows(prior, block)
    blocks = len(rows)

    def of_mask(mask: jax.Array) -> jax.Array:
        drawn_by, noise_by = jax.random.fold_in(shared, mask), jax.random.fold_in(key, mask)

        def weigh(best: tuple[jax.Array, jax.Array], number: jax.Array) -> tuple[tuple, None]:
            drawn = _drawn(drawn_by, rows, jnp.full(blocks, number))
            noise = jax.random.gumbel(jax.random.fold_in(noise_by, number), (blocks,))
            weight = jnp.sum(jnp.where(drawn, odds, 0), axis=1) + noise
            better = weight > best[0]
            return (jnp.where(better, weight, best[0]), jnp.where(better, number, best[1])), None

        nothing = jnp.full(blocks, -jnp.inf), jnp.zeros(blocks, jnp.uint32)
        return jax.lax.scan(weigh, nothing, jnp.arange(2**bits, dtype=jnp.uint32))[0][1]

    return jax.lax.map(of_mask, jnp.arange(count))


@functools.partial(jax.jit, static_argnames="block")
def ones(shared: jax.Array, prior: jax.Array, numbers: jax.Array, *, block: int) -> jax.Array:
    """How many of the masks that numbers stand for have a one.

    Args:
      shared: as of ``chosen``.
      prior: likewise.
      numbers: u32[S, ceil(n / B)], S below 256.
      block: B.

    Returns:
      u8[n].
    """
    rows = _rows(prior, block)

    def added(sum_: jax.Array, mask: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        drawn = _drawn(jax.random.fold_in(shared, mask[0]), rows, mask[1])
        return sum_ + drawn.astype(jnp.uint8), None

    nothing = jnp.zeros(rows.shape, jnp.uint8)
    total, _ = jax.lax.scan(added, nothing, (jnp.arange(len(numbers)), numbers))
    return total.reshape(-1)[: prior.size]


def in_bits(numbers: jax.Array, width: int) -> Bits:
    """Numbers as a section, of ``width`` bits each.

    Args:
      numbers: u32[k], below 2^width.
      width: 1 .. 32.

    Returns:
      The section, of k width bits, the lowest of a number first.

    Example:
      >>> section = in_bits(jnp.array([2, 5], jnp.uint32), 3)
      >>> section.bits.tolist(), from_bits(section, 3).tolist()
      ([0, 1, 0, 1, 0, 1], [2, 5])
    """
    bits = numbers[:, None] >> jnp.arange(width, dtype=jnp.uint32)
    return Bits((bits & 1).astype(jnp.uint8).reshape(-1))


def from_bits(section: Bits, width: int) -> jax.Array:
    """The numbers u32[k] of a section that ``in_bits`` made."""
    bits = jnp.asarray(section.bits).astype(jnp.uint32).reshape(-1, width)
    return jnp.sum(bits << jnp.arange(width, dtype=jnp.uint32), axis=1, dtype=jnp.uint32)


def _rows(vector: jax.Array, block: int) -> jax.Array:
    """Blocks f32[blocks, B], filled with 0: of a prior, what no candidate has."""
    block = min(block, vector.size)
    blocks = -(-vector.size // block)
    return jnp.pad(vector, (0, blocks * block - vector.size)).reshape(blocks, block)


def _drawn(shared: jax.Array, prior: jax.Array, numbers: jax.Array) -> jax.Array:
    """Of each block the candidate of a number: bool[blocks, B]."""

    def one(place: jax.Array, prior: jax.Array, number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(shared, place), number)
        return jax.random.uniform(key, prior.shape) < prior

    return jax.vmap(one)(jnp.arange(numbers.size), prior, numbers)
