"""Entropy-constrained codebooks: squared error against code length.

Where codes are entropy-coded, a code that is seldom used takes many bits, and k-means, which does
not count them, is not the best quantiser. Minimising

    sum_i w_i (v_i - c_k(i))^2 + lambda sum_i w_i (-log2 p_k(i)),

with p_j the share of the weight in cell j, also decides how many cells are in use. At a high rate
the optimum is a uniform grid of step sqrt(6 lambda / ln 2), whatever the density of the values
(Gish and Pierce, 1968). From grids of about that step,
and from the density of k-means for the case that K is the limit, a generalised Lloyd iteration
(Chou, Lookabaugh and Gray, 1989) alternates between means, code lengths, and the borders at which
two neighbouring cells cost the same; cells that lose all their members vanish. What it ends in is
combined to the best partition that has its borders (see `rate_search`), and that again with others
around it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.codebook.condense import Atoms, condense
from fedcode_jax.codebook.first_edges import density, density_start
from fedcode_jax.codebook.fitting import check_num_clusters, check_values
from fedcode_jax.codebook.moments import Tree, make_tree, measure, unpack
from fedcode_jax.codebook.numerics import count_below
from fedcode_jax.codebook.rate_search import combine, cost
from fedcode_jax.codebook.scaling import (
    at_most_one,
    comfortable,
    exponent_of,
    size_of,
    times_power,
)
from fedcode_jax.codebook.vmap_rule import one_by_one
from fedcode_jax.limits import check_real
from fedcode_jax.targets import CPU, by_target, check_target

_GRIDS = (0.7, 0.78, 0.87, 0.97, 1.08, 1.2, 1.4)  # steps, of the best one at a high rate
_REACHES = (0.0, 1.0, 0.4)  # by round, how far from the best partition the next ones spread
_STEPS = (4, 1, 1)  # by round, of Lloyd's iteration on each partition
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


@randomness.standardised
def fit_rate(
    values: jax.Array,
    num_clusters: int,
    rate_weight: jax.Array | float,
    *,
    weights: jax.Array | None = None,
    target: str | None = None,
) -> RateCodebook:
    """Fits the codebook with the least squared error plus lambda times code length.

    lambda is ``rate_weight`` times the variance of the values, in squared error a bit; so the rate
    depends on the shape of their distribution and not on its scale. At 1e-1, 1e-2, 1e-3 and 1e-4
    bell-shaped values take about 2, 4, 5.5 and 7 bits each, if K leaves room for about three times
    as many cells as 2 to that power.

    The sum is within 0.2 % of its optimum, and where K is the limit within about 1 % of the
    optimum of K cells. Up to some thousand centers; above, atoms are coarser than cells.
    Deterministic; runs under jit, vmap and `jax.lax.map`.

    Args:
      values: f32[n], n >= 1. If any is not finite, all centers are nan.
      num_clusters: K, how many cells may be in use, 1 to 65536; static. If lambda asks for more,
        cells are as much wider as it takes.
      rate_weight: above 0 and up to 10^6; may be traced, and is then not checked.
      weights: f32[n] >= 0, or None, as of ``fit``.
      target: as of ``fit``.

    Returns:
      The codebook.

    Raises:
      ConfigError: ``num_clusters`` or ``rate_weight`` is out of range, or ``target`` is unknown.
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
    if not isinstance(rate_weight, jax.core.Tracer):
        check_real("algorithm.rate_weight", float(rate_weight), 0, 1e6, above=True)
    check_target(target)
    packed = _fit(x, weights, jnp.asarray(rate_weight, jnp.float32), K, target)
    return RateCodebook(packed[0], packed[1, : K - 1])


@partial(jax.jit, static_argnames=("K", "target"))
def _fit(
    x: jax.Array,
    weights: jax.Array | None,
    rate_weight: jax.Array,
    K: int,
    target: str | None,
) -> jax.Array:
    def form(
        x: jax.Array, weights: jax.Array | None, price: jax.Array, *, target: str
    ) -> jax.Array:
        one = partial(_fit_one, K, target)
        return (one_by_one(one) if target == CPU else one)(x, weights, price)

    return by_target(form, target)(x, weights, rate_weight)


def _fit_one(
    K: int, target: str, x: jax.Array, weights: jax.Array | None, rate_weight: jax.Array
) -> jax.Array:
    largest = size_of(x, weights)
    shift = comfortable(largest)
    if weights is not None:
        weights = at_most_one(weights)
    atoms = condense(times_power(x, shift), weights, min(K, _MOST_CLUSTERS), target)
    # A scale near 1 keeps the squares of very large and very small values within float32.
    low, high = atoms.positions[0], atoms.positions[-1]
    exponent = exponent_of(jnp.maximum(jnp.abs(low), jnp.abs(high)))
    scaled = atoms._replace(positions=times_power(atoms.positions, -exponent))
    centers, limits = _optimise(scaled, rate_weight, K, target)
    centers = jnp.clip(times_power(centers, exponent), low, high)
    both = jnp.stack([centers, times_power(limits, exponent)])
    return jnp.where(jnp.isfinite(largest), times_power(both, -shift), jnp.nan)


class _Cells(NamedTuple):
    """The cells between some ends, those in use closed up: f32[K] each, and how many, i32[]."""

    centers: jax.Array
    bits: jax.Array
    used: jax.Array
    cost: jax.Array


def _optimise(
    atoms: Atoms, rate_weight: jax.Array, K: int, target: str
) -> tuple[jax.Array, jax.Array]:
    """Centers f32[K] and limits f32[K], the last one infinite."""
    tree = make_tree(atoms)
    whole = unpack(tree.rows[:, 1]).moments
    price = rate_weight * whole.error / whole.weight
    best_step = jnp.sqrt(6 * price / jnp.log(2.0))

    def settle(ends: jax.Array, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(_: jax.Array, carry: tuple) -> tuple:
            ends, best, least = carry
            cells = _look(tree, ends, price)
            inner = count_below(atoms.positions, _borders(cells, price)[:-1], target=target)
            moved = jnp.pad(jnp.minimum(inner, atoms.number), 1).at[-1].set(atoms.number)
            best = jnp.where(cells.cost < least, ends, best)
            return moved, best, jnp.minimum(cells.cost, least)

        _, best, least = jax.lax.fori_loop(0, steps + 1, step, (ends, ends, jnp.float32(jnp.inf)))
        return best, least

    def improve(carry: tuple, around: tuple) -> tuple[tuple, None]:
        best, least = carry
        reach, steps = around
        partitions = jnp.where(reach > 0, _shifted(best, reach), starts)
        partitions, costs = jax.lax.map(lambda ends: settle(ends, steps), partitions)
        combined, now = combine(tree, partitions, price)
        found = jnp.stack([combined, partitions[jnp.argmin(costs)], best])
        costs = jnp.stack([now, jnp.min(costs), least])
        return (found[jnp.argmin(costs)], jnp.min(costs)), None

    # Grids for a high rate, and the density of k-means for the case that K is the limit.
    grids = _grids(atoms, jnp.array(_GRIDS) * best_step, K, target)
    dense = density_start(density(atoms, K, target), K, atoms.number, target)
    dense = jnp.minimum(dense, atoms.number)
    starts = jnp.concatenate([grids, dense[None]])
    rounds = jnp.array(_REACHES), jnp.array(_STEPS)
    (best, _), _ = jax.lax.scan(improve, (dense, jnp.float32(jnp.inf)), rounds)
    cells = _look(tree, best, price)
    return cells.centers, _borders(cells, price)


def _shifted(ends: jax.Array, reach: jax.Array) -> jax.Array:
    """Partitions with all inner ends moved by the same shares of their cells, either way."""
    number = len(_GRIDS) + 1
    share = reach * (jnp.arange(number) - number // 2)[:, None] / number
    up, down = jnp.diff(ends, append=ends[-1:]), jnp.diff(ends, prepend=ends[:1])
    moved = ends + jnp.floor(share * jnp.where(share > 0, up, down) + 0.5).astype(ends.dtype)
    return moved.at[:, 0].set(ends[0]).at[:, -1].set(ends[-1])


def _look(tree: Tree, ends: jax.Array, price: jax.Array) -> _Cells:
    """Measures the cells between ends i32[K + 1]; equal ends enclose nothing."""
    cells = measure(tree, ends)
    weight, mean, _ = cells.moments
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
    return _Cells(centers, close_up(bits), used, jnp.sum(cost(cells.moments, total, price)))


def _borders(cells: _Cells, price: jax.Array) -> jax.Array:
    """Where a cell and the next cost the same, f32[K]; infinite from the last one in use on."""
    lower, upper = cells.centers[:-1], cells.centers[1:]
    dearer = cells.bits[1:] - cells.bits[:-1]
    border = (lower + upper) / 2 + price * dearer / (2 * jnp.maximum(upper - lower, _TINY))
    inside = jnp.arange(1, cells.centers.size) < cells.used
    # A border beyond the next one leaves the cell between them empty.
    return jnp.append(jax.lax.cummax(jnp.where(inside, border, jnp.inf)), jnp.inf)


def _grids(atoms: Atoms, steps: jax.Array, K: int, target: str) -> jax.Array:
    """Ends i32[G, K + 1] of the occupied cells of uniform grids, of steps that fit in K."""
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

    def ends(step: jax.Array) -> jax.Array:
        whole = jnp.arange(K + 1, dtype=jnp.int32)
        below = count_below(ranks(step), whole, target=target)
        return jnp.minimum(below, atoms.number).at[-1].set(atoms.number)

    coarse = 4 * extent
    fine = jnp.clip(steps[0], 1e-6 * extent, coarse)  # cells are numbered exactly in float32
    _, fitting = jax.lax.fori_loop(0, _BISECTIONS, halve, (fine, coarse))
    # Of all grids that are too fine, the one that fits.
    fitting = jnp.where(ranks(fine)[-1] < K, fine, fitting)
    return jax.lax.map(ends, jnp.clip(steps, fitting, coarse))
