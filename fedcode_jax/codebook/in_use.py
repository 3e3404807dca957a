"""Codebooks whose number of centers is known only when the program runs."""

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.codebook.codes import encode
from fedcode_jax.codebook.fitting import check_values, fit

_ATOMS_PER_CENTER = 4


@randomness.standardised
def fit_in_use(values: jax.Array, most: int, used: jax.Array) -> jax.Array:
    """Fits as many centers as are asked for, of which the shapes know only how many there may be.

    Four times as many centers as there may be are fitted first, and their cells put together to the
    ``used`` ones of least squared error, by dynamic programming: the best of all codebooks whose
    cells these make up. Time and memory for it grow with the square of ``most``, not with n.

    Args:
      values: f32[n], n >= 1.
      most: K, 1 to 256; static. Of at most n values.
      used: i32[], traced or not, how many of the K are in use; counts as 1 below and K above.

    Returns:
      Centers f32[min(K, n)], ascending; those that are not in use repeat the last. Nan where the
      values are not finite.

    Raises:
      ConfigError, DataError: as of ``fit``.

    Source: Wang and Song, Ckmeans.1d.dp, R Journal 3(2), 2011.

    Example:
      >>> values = jnp.array([0.0, 0.5, 5.0, 5.5, 9.0])
      >>> [fit_in_use(values, 4, jnp.int32(used)).tolist() for used in (1, 3)]
      [[4.0, 4.0, 4.0, 4.0], [0.25, 5.25, 9.0, 9.0]]
    """
    x, _ = check_values("codebook.fit_in_use", values, None)
    centers = min(most, x.size)
    atoms = fit(x, min(_ATOMS_PER_CENTER * most, x.size))
    codes = encode(jnp.where(jnp.isfinite(atoms), atoms, 0), x).astype(jnp.int32)
    counts = jnp.zeros(atoms.size).at[codes].add(1.0)
    return _together(atoms, counts, centers, jnp.clip(jnp.asarray(used, jnp.int32), 1, centers))


def _together(atoms: jax.Array, counts: jax.Array, centers: int, used: jax.Array) -> jax.Array:
    """The centers f32[K] of the best cells that are made up of neighbouring atoms."""
    A = atoms.size
    # About the middle and the size of the values, where squares lose no digits that matter.
    middle = jnp.sum(counts * atoms) / jnp.sum(counts)
    size = jnp.max(jnp.abs(atoms - middle))
    places = (atoms - middle) / jnp.where(size > 0, size, 1)
    shares = counts / jnp.sum(counts)

    def between(part: jax.Array) -> jax.Array:
        """Sums f32[A, A] over the atoms i to j."""
        until = jnp.cumsum(part)
        return until[None, :] - (until - part)[:, None]

    mass, first, second = (between(shares * places**power) for power in (0, 1, 2))
    error = jnp.maximum(second - first**2 / jnp.where(mass > 0, mass, 1), 0)
    error = jnp.where(jnp.arange(A)[:, None] <= jnp.arange(A), error, jnp.inf)

    def further(least: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        """The least error of one cell more, up to each atom, and where its last cell begins."""
        before = jnp.concatenate([jnp.zeros(1), least[:-1]])
        total = before[:, None] + error
        return jnp.min(total, axis=0), jnp.argmin(total, axis=0)

    _, starts = jax.lax.scan(further, error[0], None, length=centers - 1)
    starts = jnp.concatenate([jnp.zeros((1, A), starts.dtype), starts])

    def last(end: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        """From the last cell to the first: where the one before ends, and the middle of this."""
        is_used = k < used
        start = starts[k, end]
        inside = (jnp.arange(A) >= start) & (jnp.arange(A) <= end)
        total = jnp.sum(jnp.where(inside, counts, 0))
        mean = jnp.sum(jnp.where(inside, counts * atoms, 0)) / jnp.where(total > 0, total, 1)
        center = jnp.where(total > 0, mean, atoms[end])
        return jnp.where(is_used, jnp.maximum(start - 1, 0), end), center

    _, found = jax.lax.scan(last, jnp.int32(A - 1), jnp.arange(centers), reverse=True)
    # Rounding may leave a mean beside its cell; of fewer distinct values some cells are the same.
    found = jax.lax.cummax(found[jnp.minimum(jnp.arange(centers), used - 1)])
    is_new = jnp.concatenate([jnp.ones(1, bool), found[1:] != found[:-1]])
    first = jnp.argsort(~is_new, stable=True)
    return found[first[jnp.minimum(jnp.arange(centers), jnp.sum(is_new) - 1)]]
