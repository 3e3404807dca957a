"""Block codebooks: codewords of B consecutive values, by k-means in B dimensions.

In one dimension optimal clusters are intervals, and the exact optimum is within reach. In more
dimensions k-means is NP-hard, and this is the usual remedy: the best of a few starts by k-means++
on a sample, then Lloyd's iteration on everything. It ends in a local optimum, and a step costs n K
multiplications, where a fit in one dimension reads the values a few times. Rows are worked on in
pieces, so that memory stays bounded.

A value takes ceil(log2 K) / B bits at fixed width, and the codebook 32 K B bits.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.numerics import count_below, prefix_sum
from fedcode_jax.codebook.scaling import at_most_one
from fedcode_jax.codebook.vmap_rule import one_by_one
from fedcode_jax.targets import CPU, by_target

_SAMPLE = 8192  # rows that the starts see, if K is not larger
_STARTS = 4
_TRIALS = 8
_START_STEPS = 8
_STEPS = 25
_RESEEDED = 16  # empty clusters that are given a new place in a step
_PIECE = 2**20  # distances held at a time
_LARGEST = 40  # exponent of the largest value: its square is far from overflow, small ones from 0


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
      weights: f32[n] >= 0, or None for ones; if all are zero, all values count alike.
      block: B.

    Returns:
      ceil(n / B) rows.
    """
    fill = (0, -values.size % block)
    weights = jnp.ones_like(values) if weights is None else at_most_one(weights)
    rows = (jnp.pad(x, fill).reshape(-1, block) for x in (values, weights))
    return Rows(*rows)


@partial(jax.jit, static_argnames=("num_clusters", "target"))
def fit_rows(
    rows: Rows, init: jax.Array | None, num_clusters: int, target: str | None = None
) -> jax.Array:
    """A codebook of few squared errors, sum_ib w_ib (x_ib - c_b)^2, for rows.

    Args:
      rows: the vectors.
      init: f32[K, B], where to start, or None.
      num_clusters: K.
      target: the kind of machine, or None for that which the program is compiled for.

    Returns:
      f32[K, B], in lexicographic order; clusters that nothing is in are left out, and the last
      codeword is repeated in their place. Of no more than K different rows (and a sample's
      worth of them) each is one, exactly.
    """

    def form(rows: Rows, init: jax.Array | None, *, target: str) -> jax.Array:
        one = partial(_fit_rows, num_clusters, target)
        return (one_by_one(one) if target == CPU else one)(rows, init)

    return by_target(form, target)(rows, init)


def _fit_rows(num_clusters: int, target: str, rows: Rows, init: jax.Array | None) -> jax.Array:
    exponent = _exponent(rows.values if init is None else jnp.concatenate([rows.values, init]))
    values = jnp.ldexp(rows.values, -exponent)
    rows = Rows(values, rows.weights)
    centers = _start(rows, num_clusters, target) if init is None else jnp.ldexp(init, -exponent)
    centers = jax.lax.fori_loop(0, _STEPS, lambda _, c: _step(rows, c, target), centers)
    mass, *_ = _pass(rows, centers, target)
    return jnp.ldexp(_in_order(centers, jnp.sum(mass, axis=1) > 0), exponent)


def _step(rows: Rows, centers: jax.Array, target: str) -> jax.Array:
    """One step of Lloyd's iteration."""
    mass, excess, errors = _pass(rows, centers, target)
    moved = centers + excess / jnp.where(mass > 0, mass, 1)
    # Empty clusters go where the largest errors are.
    count = min(_RESEEDED, len(centers), errors.size)
    worst_errors, worst = jax.lax.top_k(errors, count)
    empty = jnp.sum(mass, axis=1) <= 0
    rank = jnp.cumsum(empty) - 1
    place = jnp.clip(rank, 0, count - 1)
    use = empty & (rank < count) & (worst_errors[place] > 0)
    return jnp.where(use[:, None], rows.values[worst[place]], moved)


@jax.jit
def encode_rows(rows: Rows, centers: jax.Array) -> jax.Array:
    """The nearest codeword of each row, the first of equals: i32[m]."""
    exponent = _exponent(jnp.concatenate([rows.values, centers]))
    values, centers = jnp.ldexp(rows.values, -exponent), jnp.ldexp(centers, -exponent)
    pieces = _pieces(Rows(values, rows.weights), len(centers))
    code = jax.lax.map(lambda piece: _nearest(piece, centers), pieces)
    return code.reshape(-1)[: len(values)]


def _exponent(values: jax.Array) -> jax.Array:
    """The power of two by which values are divided before anything is squared."""
    size = jnp.max(jnp.where(jnp.isfinite(values), jnp.abs(values), 0))
    return jnp.frexp(size)[1] - _LARGEST


def _pieces(rows: Rows, num_clusters: int) -> Rows:
    """Rows in pieces f32[P, size, B], the last one filled up with rows of no weight."""
    m, B = rows.values.shape
    size = max(1, min(m, _PIECE // num_clusters))
    fill = ((0, -m % size), (0, 0))
    return Rows(*(jnp.pad(x, fill).reshape(-1, size, B) for x in rows))


def _nearest(rows: Rows, centers: jax.Array) -> jax.Array:
    """The nearest codeword of each row, the first of equals: i32[m]. All m x K distances at once.

    Products of matrices, x^2 - 2 x c + c^2, are no faster with so few columns, and beside a far
    outlier nothing is left of their digits.
    """
    x, w, columns = rows.values.T, rows.weights.T, centers.T

    def add(b: jax.Array, distance: jax.Array) -> jax.Array:
        return distance + w[b][:, None] * (x[b][:, None] - columns[b]) ** 2

    K, B = centers.shape
    distance = jax.lax.fori_loop(0, B, add, jnp.zeros((len(rows.values), K)))
    # Minima vectorise on a CPU, where argmin does not. What is not a number is nearest to all.
    further = distance > jnp.min(distance, axis=1, keepdims=True)
    return jnp.min(jnp.where(further, K - 1, jnp.arange(K, dtype=jnp.int32)), axis=1)


def _pass(rows: Rows, centers: jax.Array, target: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Assigns all rows, piece by piece.

    Returns:
      f32[K, B] weight of the members, f32[K, B] weighted sum of their distances from the center,
      f32[m] error of each row.
    """
    K, B = centers.shape

    def piece(carry: jax.Array, part: Rows) -> tuple[jax.Array, jax.Array]:
        code = _nearest(part, centers)
        residual = part.values - centers[code]
        pull = part.weights * residual
        sums = jnp.concatenate([part.weights, pull], axis=1)
        return carry + _totals(code, sums, K, target), jnp.sum(pull * residual, axis=1)

    totals, errors = jax.lax.scan(piece, jnp.zeros((K, 2 * B)), _pieces(rows, K))
    return totals[:, :B], totals[:, B:], errors.reshape(-1)[: len(rows.values)]


def _totals(code: jax.Array, sums: jax.Array, num_clusters: int, target: str) -> jax.Array:
    """Sums of the rows of each code; off the CPU not by scattering, whose order would vary."""
    if target == CPU:
        return jnp.zeros((num_clusters, sums.shape[1])).at[code].add(sums)
    member = (code[:, None] == jnp.arange(num_clusters)).astype(jnp.float32)
    return jnp.matmul(member.T, sums, precision=jax.lax.Precision.HIGHEST)


def _start(rows: Rows, num_clusters: int, target: str) -> jax.Array:
    """The best of several starts, each a k-means++ and some steps on a sample."""
    sample, size = rows, max(_SAMPLE, num_clusters)
    if size < len(rows.values):
        # Evenly spaced among the rows that count.
        rank = jnp.cumsum(jnp.any(rows.weights > 0, axis=1), dtype=jnp.int32)
        wanted = (jnp.arange(size) * (rank[-1] / size)).astype(jnp.int32) + 1
        sample = Rows(*(x[count_below(rank, wanted, target=target)] for x in rows))

    def attempt(best: tuple, number: jax.Array) -> tuple[tuple, None]:
        centers = _plus_plus(sample, num_clusters, number, target)
        centers = jax.lax.fori_loop(0, _START_STEPS, lambda _, c: _step(sample, c, target), centers)
        error = jnp.sum(_pass(sample, centers, target)[2])
        return jax.lax.cond(error < best[0], lambda: (error, centers), lambda: best), None

    none = (jnp.float32(jnp.inf), jnp.zeros((num_clusters, rows.values.shape[1])))
    return jax.lax.scan(attempt, none, jnp.arange(_STARTS))[0][1]


def _plus_plus(rows: Rows, num_clusters: int, number: jax.Array, target: str) -> jax.Array:
    """Greedy k-means++.

    Each next codeword is that of several candidates, drawn where the error is, which leaves the
    least error. In place of random numbers there are multiples of two irrational ones, by number of
    the codeword and of the start.
    """
    x, w = rows

    def errors_of(codeword: jax.Array) -> jax.Array:
        return jnp.sum(w * (x - codeword) ** 2, axis=1)

    def add(j: jax.Array, carry: tuple) -> tuple:
        centers, errors = carry
        # The places where numbers from 0 to 1 fall in the running sum of errors.
        running = prefix_sum(errors, target)[1:]
        parts = (j * 0.7548777 + number * 0.5698403 + jnp.arange(_TRIALS) / _TRIALS) % 1
        at = count_below(running, parts * running[-1], target=target)
        chosen = x[jnp.minimum(at, errors.size - 1)]
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
