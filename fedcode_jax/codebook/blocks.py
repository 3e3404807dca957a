"""Block codebooks: codewords of B consecutive values, by k-means in B dimensions.

In one dimension optimal clusters are intervals, and the exact optimum is within reach. In more
dimensions k-means is NP-hard, and this is the usual remedy: k-means++ on a sample, then Lloyd's
iteration on everything. It ends in a local optimum, and a step costs n K multiplications, where a
fit in one dimension reads the values a few times. All large work is matrix products over pieces of
the rows, so that memory stays bounded.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

_SAMPLE = 8192  # rows that k-means++ sees, if K is not larger
_TRIALS = 8
_STEPS = 25
_RESEEDED = 16  # empty clusters that are given a new place in a step
_PIECE = 2**20  # distances held at a time
_EXACT = jax.lax.Precision.HIGHEST


class Rows(NamedTuple):
    """Values as vectors.

    Attributes:
      values: f32[m, B].
      weights: f32[m, B], 0 for coordinates that do not count.
    """

    values: jax.Array
    weights: jax.Array


def make_rows(values: jax.Array, weights: jax.Array | None, block: int) -> Rows:
    """Cuts values into rows of B; what the last row lacks has no weight.

    Args:
      values: f32[n].
      weights: f32[n] >= 0, or None for ones.
      block: B.

    Returns:
      ceil(n / B) rows.
    """
    fill = (0, -values.size % block)
    weights = jnp.ones_like(values) if weights is None else weights
    rows = (jnp.pad(x, fill).reshape(-1, block) for x in (values, weights))
    return Rows(*rows)


@partial(jax.jit, static_argnames="num_clusters")
def fit_rows(rows: Rows, init: jax.Array | None, num_clusters: int) -> jax.Array:
    """A codebook of few squared errors, sum_ib w_ib (x_ib - c_b)^2, for rows.

    Args:
      rows: the vectors.
      init: f32[K, B], where to start, or None.
      num_clusters: K.

    Returns:
      f32[K, B], in lexicographic order; clusters that nothing is in are left out, and the last
      codeword is repeated in their place. Of no more than K different rows (and a sample's
      worth of them) each is one, exactly.
    """
    scale = jnp.maximum(jnp.max(rows.weights), jnp.finfo(jnp.float32).tiny)
    any_weight = jnp.any(rows.weights > 0)
    weights = jnp.where(any_weight, rows.weights / scale, 1)
    rows = Rows(rows.values, weights)
    centers = _plus_plus(rows, num_clusters) if init is None else init

    def step(_: int, centers: jax.Array) -> jax.Array:
        mass, excess, errors, _codes = _pass(rows, centers)
        moved = centers + excess / jnp.where(mass > 0, mass, 1)
        # Empty clusters go where the largest errors are.
        count = min(_RESEEDED, num_clusters, errors.size)
        worst_errors, worst = jax.lax.top_k(errors, count)
        empty = jnp.sum(mass, axis=1) <= 0
        rank = jnp.cumsum(empty) - 1
        use = empty & (rank < count)
        place = jnp.clip(rank, 0, count - 1)
        use &= worst_errors[place] > 0
        return jnp.where(use[:, None], rows.values[worst[place]], moved)

    centers = jax.lax.fori_loop(0, _STEPS, step, centers)
    mass, *_ = _pass(rows, centers)
    return _in_order(centers, jnp.sum(mass, axis=1) > 0)


def encode_rows(rows: Rows, centers: jax.Array) -> jax.Array:
    """The nearest codeword of each row, the first of equals: i32[m]."""
    return _pass(rows, centers)[3]


def _pass(rows: Rows, centers: jax.Array) -> tuple[jax.Array, ...]:
    """Assigns all rows, piece by piece.

    Returns:
      f32[K, B] weight of the members, f32[K, B] weighted sum of their distances from the center,
      f32[m] error of each row, i32[m] its code.
    """
    K, B = centers.shape
    m = rows.values.shape[0]
    size = max(1, min(m, _PIECE // K))
    pieces = -(-m // size)
    fill = ((0, pieces * size - m), (0, 0))
    cut = Rows(*(jnp.pad(x, fill).reshape(pieces, size, B) for x in rows))
    # Distances from a point in the middle keep their digits far from zero.
    middle = jnp.mean(centers, axis=0)
    near = centers - middle

    def piece(carry: tuple, part: Rows) -> tuple[tuple, tuple]:
        x, w = part
        cross = jnp.matmul(w * (x - middle), near.T, precision=_EXACT)
        distance = jnp.matmul(w, (near * near).T, precision=_EXACT) - 2 * cross
        # The first of the least: minima vectorise on a CPU, where argmin does not.
        least = distance <= jnp.min(distance, axis=1, keepdims=True)
        code = jnp.min(jnp.where(least, jnp.arange(K), K - 1), axis=1)
        residual = x - centers[code]
        member = (code[:, None] == jnp.arange(K)).astype(jnp.float32)
        sums = jnp.concatenate([w, w * residual], axis=1)
        totals = jnp.matmul(member.T, sums, precision=_EXACT)
        errors = jnp.sum(w * residual * residual, axis=1)
        return (carry[0] + totals[:, :B], carry[1] + totals[:, B:]), (errors, code)

    start = (jnp.zeros((K, B)), jnp.zeros((K, B)))
    (mass, excess), (errors, code) = jax.lax.scan(piece, start, cut)
    return mass, excess, errors.reshape(-1)[:m], code.reshape(-1)[:m].astype(jnp.int32)


def _plus_plus(rows: Rows, num_clusters: int) -> jax.Array:
    """Greedy k-means++ on evenly spaced rows.

    Each next codeword is that of several candidates, drawn where the error is, which leaves the
    least error.
    """
    m = rows.values.shape[0]
    size = min(m, max(_SAMPLE, num_clusters))
    picked = (jnp.arange(size, dtype=jnp.float32) * (m / size)).astype(jnp.int32)
    x, w = rows.values[picked], rows.weights[picked]
    key = jax.random.key(0)

    def errors_of(codeword: jax.Array) -> jax.Array:
        return jnp.sum(w * (x - codeword) ** 2, axis=1)

    def add(j: jax.Array, carry: tuple) -> tuple:
        centers, errors = carry
        # The places where uniform numbers fall in the running sum of errors.
        running = jnp.cumsum(errors)
        targets = jax.random.uniform(jax.random.fold_in(key, j), (_TRIALS,)) * running[-1]
        chosen = x[jnp.minimum(jnp.searchsorted(running, targets, side="right"), size - 1)]
        left = jnp.minimum(errors, jax.vmap(errors_of)(chosen))
        best = jnp.argmin(jnp.sum(left, axis=1))
        return centers.at[j].set(chosen[best]), left[best]

    first = x[jnp.argmax(jnp.sum(w, axis=1))]
    centers = jnp.tile(first, (num_clusters, 1))
    return jax.lax.fori_loop(1, num_clusters, add, (centers, errors_of(first)))[0]


def _in_order(centers: jax.Array, used: jax.Array) -> jax.Array:
    """Codewords in lexicographic order, with unused ones and repeats moved to the end."""
    K, B = centers.shape
    columns = jax.lax.sort((~used, *centers.T), num_keys=B + 1)
    unused, ordered = columns[0], jnp.stack(columns[1:], axis=1)
    new = jnp.concatenate([jnp.ones(1, bool), jnp.any(ordered[1:] != ordered[:-1], axis=1)])
    kept = new & ~unused
    place = jnp.where(kept, jnp.cumsum(kept) - 1, K)
    last = ordered[jnp.max(jnp.where(kept, jnp.arange(K), 0))]
    return jnp.tile(last, (K, 1)).at[place].set(ordered, mode="drop")
