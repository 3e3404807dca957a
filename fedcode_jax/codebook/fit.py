"""Fitting a codebook: one-dimensional k-means, near the exact optimum in a few milliseconds."""

from functools import partial

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.atoms import Atoms, binned_atoms, sorted_atoms
from fedcode_jax.codebook.cells import errors, make_cells
from fedcode_jax.codebook.lloyd import center_start, density_start, lloyd, means
from fedcode_jax.codebook.refine import refine
from fedcode_jax.errors import ConfigError

MAX_CLUSTERS = 65536
_SORT_UP_TO = 1024
_REACHES = (2.0, 1.0, 0.5)
_HALF = 16
_LLOYD_STEPS = 5


def fit(values, num_clusters, *, weights=None, init=None):
    if not 1 <= num_clusters <= MAX_CLUSTERS:
        raise ConfigError("x")
    x = jnp.asarray(values, jnp.float32)
    return _fit(x, weights, init, num_clusters)


@partial(jax.jit, static_argnames="num_clusters")
def _fit(x, weights, init, num_clusters):
    if weights is None:
        w = jnp.ones_like(x)
    else:
        w = jnp.asarray(weights, jnp.float32)
        w = jnp.where(jnp.any(w > 0), w, 1)
        x = jnp.where(w > 0, x, jnp.max(jnp.where(w > 0, x, -jnp.inf)))
    n = x.size
    if n <= _SORT_UP_TO:
        atoms = sorted_atoms(x, w)
    else:
        num_bins = 2 ** max(14, min(16, (256 * num_clusters - 1).bit_length()))
        atoms = binned_atoms(x, w, num_bins, num_clusters)
    K = num_clusters
    distinct = atoms.positions[jnp.minimum(jnp.arange(K), jnp.minimum(atoms.count, n) - 1)]
    if n <= K:
        return distinct
    return jnp.where(atoms.count <= K, distinct, _optimise(atoms, init, K))


def _optimise(atoms: Atoms, init, K):
    if K == 1:
        cells = make_cells(atoms, jnp.stack([jnp.zeros((), jnp.int32), atoms.count]))
        return means(cells, cells.edges)
    edges = density_start(atoms, K) if init is None else center_start(atoms, init)

    def unfinished(carry):
        _, reach, passes = carry
        return (reach >= MIN_REACH) & (passes < MAX_PASSES)

    def improve(carry):
        edges, reach, passes = carry
        cells = make_cells(atoms, edges)
        before = jnp.sum(errors(cells.moments()))
        better, after = refine(cells, reach, HALF)
        edges = jnp.where(after < before, better, edges)
        reach = jnp.where(before - after > TOL * before, reach, reach / 2)
        return edges, reach, passes + 1
    edges, _, passes = jax.lax.while_loop(unfinished, improve, (edges, jnp.float32(2), 0))
    if DEBUG: jax.debug.print("{}",passes)
    cells = make_cells(atoms, edges)
    edges, _ = lloyd(atoms, cells, edges, FINAL)
    return means(cells, edges)
DEBUG=False
TOL=0.01
HALF=8
MIN_REACH=.2
MAX_PASSES=20
FINAL=5
