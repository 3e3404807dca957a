"""Entropy-constrained codebooks: squared error against code length.

Where codes are entropy-coded, a code that is seldom used takes many bits, and k-means, which does
not count them, is not the best quantiser. Minimising

    sum_i w_i (v_i - c_k(i))^2 + lambda sum_i w_i (-log2 p_k(i)),

with p_j the share of the weight in cell j, also decides how many cells are in use. At a high rate
the optimum is a uniform grid of step sqrt(6 lambda / ln 2), whatever the density of the values
(Gish and Pierce, 1968). From grids of about that step a generalised Lloyd iteration (Chou,
Lookabaugh and Gray, 1989) alternates between means, code lengths, and the borders at which two
neighbouring cells cost the same; cells that lose all their members vanish.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.atoms import Atoms, condense
from fedcode_jax.codebook.batching import one_by_one_on_cpu
from fedcode_jax.codebook.cells import Tree, make_tree, measure
from fedcode_jax.codebook.fitting import check_num_clusters, check_values
from fedcode_jax.codebook.numerics import count_below
from fedcode_jax.errors import ConfigError

_GRIDS = (0.7, 0.85, 1.0, 1.2, 1.5)  # steps to start from, of the best one at a high rate
_TRIAL_STEPS = 3  # on each of them
_STEPS = 20  # on the best
_BISECTIONS = 16
_MOST_CLUSTERS = 1024  # for which bins are made; sorting for more would take too long
_TINY = 1e-30


class RateCodebook(NamedTuple):
    """A codebook and the borders of its cells, which are not half-way between its centers.

    Attributes:
      centers: f32[K], ascending; those that are not in use repeat the last one that is.
      limits: f32[K - 1], ascending, the greatest value of each cell but the last; infinite from
        the last cell in use on. For ``encode(centers, values, limits=limits)``.
    """

    centers: jax.Array
    limits: jax.Array


def fit_rate(
    values: jax.Array,
    num_clusters: int,
    rate_weight: jax.Array | float,
    *,
    weights: jax.Array | None = None,
) -> RateCodebook:
    """Fits the codebook with the least squared error plus lambda times code length.

    lambda is ``rate_weight`` times the variance of the values, in squared error a bit; so the rate
    depends on the shape of their distribution and not on its scale. At 1e-1, 1e-2, 1e-3 and 1e-4
    bell-shaped values take about 2, 4, 5.5 and 7 bits each. Under an ideal entropy coder no
    codebook of k-means gives as small an error at as many bits.

    The sum is within about 0.5 % of its optimum on common distributions, 2 % on hard ones. Up to
    some thousand centers; above, the grid is coarser than asked for. Deterministic; runs under
    jit, vmap and `jax.lax.map`.

    Args:
      values: f32[n], n >= 1. If any is not finite, the result is unspecified.
      num_clusters: K, how many cells may be in use, 1 to 65536; static. If lambda asks for more,
        cells are as much wider as it takes.
      rate_weight: above 0; may be traced, and is then not checked.
      weights: f32[n] >= 0, or None, as of ``fit``.

    Returns:
      The codebook.

    Raises:
      ConfigError: ``num_clusters`` or ``rate_weight`` is out of range.
      DataError: ``values`` is empty, or an argument has the wrong shape.

    References:
      Chou, Lookabaugh and Gray, Entropy-constrained vector quantization, 1989. Gish and Pierce,
      Asymptotically efficient quantizing, 1968.

    Example:
      >>> import numpy as np
      >>> from fedcode_jax.codebook import encode
      >>> values = jnp.array([0.0, 0.1, 0.2, 0.1, 0.0, 5.0])
      >>> centers, limits = fit_rate(values, 4, 0.01)
      >>> [f"{center:.2f}" for center in centers.tolist()]
      ['0.08', '5.00', '5.00', '5.00']
      >>> np.asarray(encode(centers, values, limits=limits)).tolist()
      [0, 0, 0, 0, 0, 1]
    """
    K = check_num_clusters(num_clusters)
    x, weights = check_values("codebook.fit_rate", values, weights)
    if not isinstance(rate_weight, jax.core.Tracer) and not float(rate_weight) > 0:
        raise ConfigError(f"algorithm.rate_weight: {rate_weight}; give a number above 0")
    packed = _fit(x, weights, jnp.asarray(rate_weight, jnp.float32), K)
    return RateCodebook(packed[0], packed[1, : K - 1])


@partial(jax.jit, static_argnames="K")
def _fit(x: jax.Array, weights: jax.Array | None, rate_weight: jax.Array, K: int) -> jax.Array:
    return one_by_one_on_cpu(partial(_fit_one, K))(x, weights, rate_weight)


def _fit_one(K: int, x: jax.Array, weights: jax.Array | None, rate_weight: jax.Array) -> jax.Array:
    atoms = condense(x, weights, min(K, _MOST_CLUSTERS))
    # A scale near 1 keeps the squares of very large and very small values within float32.
    low, high = atoms.positions[0], atoms.positions[-1]
    _, exponent = jnp.frexp(jnp.maximum(jnp.abs(low), jnp.abs(high)))
    scaled = atoms._replace(positions=jnp.ldexp(atoms.positions, -exponent))
    centers, limits = _optimise(scaled, rate_weight, K)
    centers = jnp.clip(jnp.ldexp(centers, exponent), low, high)
    return jnp.stack([centers, jnp.ldexp(limits, exponent)])


class _Cells(NamedTuple):
    """The cells between some ends, those in use closed up: f32[K] each, and how many, i32[]."""

    centers: jax.Array
    bits: jax.Array
    used: jax.Array
    cost: jax.Array


def _optimise(atoms: Atoms, rate_weight: jax.Array, K: int) -> tuple[jax.Array, jax.Array]:
    """Centers f32[K] and limits f32[K], the last one infinite."""
    tree = make_tree(atoms)
    whole = measure(tree, jnp.stack([jnp.int32(0), atoms.number])).moments
    price = rate_weight * whole.error[0] / whole.weight[0]
    best_step = jnp.sqrt(6 * price / jnp.log(2.0))

    def step(_: int, ends: jax.Array) -> jax.Array:
        inner = count_below(atoms.positions, _borders(_look(tree, ends, price), price)[:-1])
        return jnp.pad(jnp.minimum(inner, atoms.number), 1).at[-1].set(atoms.number)

    def trial(best: tuple, factor: jax.Array) -> tuple[tuple, None]:
        ends = _grid(atoms, factor * best_step, K)
        ends = jax.lax.fori_loop(0, _TRIAL_STEPS, step, ends)
        cost = _look(tree, ends, price).cost
        better = cost < best[0]
        return (jnp.minimum(cost, best[0]), jnp.where(better, ends, best[1])), None

    none = (jnp.float32(jnp.inf), jnp.full(K + 1, atoms.number).at[0].set(0))
    (_, ends), _ = jax.lax.scan(trial, none, jnp.array(_GRIDS))
    cells = _look(tree, jax.lax.fori_loop(0, _STEPS, step, ends), price)
    return cells.centers, _borders(cells, price)


def _look(tree: Tree, ends: jax.Array, price: jax.Array) -> _Cells:
    """Measures the cells between ends i32[K + 1]; equal ends enclose nothing."""
    cells = measure(tree, ends)
    weight, mean, error = cells.moments
    total = jnp.sum(weight)
    in_use = weight > 0
    bits = jnp.log2(total) - jnp.log2(jnp.where(in_use, weight, total))
    place = jnp.where(in_use, jnp.cumsum(in_use) - 1, weight.size)

    def close_up(x: jax.Array) -> jax.Array:
        return jnp.zeros_like(x).at[place].set(x, mode="drop")

    used = jnp.sum(in_use)
    centers = close_up(cells.points + mean)
    unused = jnp.arange(weight.size) >= used
    centers = jnp.where(unused, centers[jnp.maximum(used - 1, 0)], centers)
    return _Cells(centers, close_up(bits), used, jnp.sum(error + price * weight * bits))


def _borders(cells: _Cells, price: jax.Array) -> jax.Array:
    """Where a cell and the next cost the same, f32[K]; infinite from the last one in use on."""
    lower, upper = cells.centers[:-1], cells.centers[1:]
    dearer = cells.bits[1:] - cells.bits[:-1]
    border = (lower + upper) / 2 + price * dearer / (2 * jnp.maximum(upper - lower, _TINY))
    inside = jnp.arange(1, cells.centers.size) < cells.used
    # A border beyond the next one leaves the cell between them empty.
    return jnp.append(jax.lax.cummax(jnp.where(inside, border, jnp.inf)), jnp.inf)


def _grid(atoms: Atoms, step: jax.Array, K: int) -> jax.Array:
    """Ends i32[K + 1] of the occupied cells of a uniform grid, of the next step that fits in K."""
    x = atoms.positions
    extent = jnp.maximum(x[-1] - x[0], _TINY)

    def ranks(step: jax.Array) -> jax.Array:
        """Of each atom, how many occupied cells lie below its own."""
        cell = jnp.floor((x - x[0]) / step + 0.5)
        return jnp.pad(jnp.cumsum(cell[1:] > cell[:-1], dtype=jnp.int32), (1, 0))

    def halve(_: int, carry: tuple) -> tuple:
        fine, coarse = carry
        middle = jnp.sqrt(fine * coarse)
        fits = ranks(middle)[-1] < K
        return jnp.where(fits, fine, middle), jnp.where(fits, middle, coarse)

    coarse = 4 * extent
    fine = jnp.clip(step, 1e-6 * extent, coarse)  # cells are numbered exactly in float32
    _, fitting = jax.lax.fori_loop(0, _BISECTIONS, halve, (fine, coarse))
    rank = ranks(jnp.where(ranks(fine)[-1] < K, fine, fitting))
    return jnp.minimum(count_below(rank, jnp.arange(K + 1, dtype=jnp.int32)), atoms.number)
