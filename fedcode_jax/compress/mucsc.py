"""MUCSC: centers that values are rounded to at random, up or down, so that the mean is right."""

import jax
import jax.numpy as jnp

from fedcode_jax import codebook, randomness
from fedcode_jax.codebook.numerics import prefix_sum
from fedcode_jax.compress.base import Compressor, stateless
from fedcode_jax.compress.topk import largest
from fedcode_jax.errors import check_name
from fedcode_jax.limits import check_probability, check_whole
from fedcode_jax.targets import CPU
from fedcode_jax.wire import Coded

_CODINGS = ("fixed", "entropy", "adaptive")


@randomness.standard_parts
def mucsc(num_clusters: int = 4, coding: str = "fixed", insignificant: float = 0.0) -> Compressor:
    """Soft clustering: a value goes to a center next to it, up or down at random.

    A value u between c_j and c_{j+1} goes up with probability (u - c_j) / (c_{j+1} - c_j), so that
    its mean is u, at an error of (u - c_j) (c_{j+1} - u). c_1 and c_K are the least and the
    greatest value; those between have the least sum of errors, found by dynamic programming over
    at least 256 places (all values, if there are no more) as near to each other as the centers of
    k-means, which is where an optimum would have them.

    B-MUCSC, with ``insignificant`` above 0: that share of the values, those of least magnitude, go
    to a center of their own, their mean; the others to the K - 1 that are left, as above.

    A value takes ceil(log2 K) bits, or their entropy, and the vector 32 K.

    Args:
      num_clusters: K, 2 to 64; B-MUCSC needs 3.
      coding: how codes are written: fixed, entropy or adaptive.
      insignificant: share of the values, 0 to below 1.

    Returns:
      The compressor, unbiased; B-MUCSC is biased. With few centers the error may exceed the vector,
      and residuals would grow without end.

    Raises:
      ConfigError: a setting that is not allowed.

    Source: Cui et al., arXiv 2105.04153, of whose text the abstract was at hand: how the optimum is
    found, and how many centers B-MUCSC has beside its own, are ours.

    Example:
      >>> few = mucsc(num_clusters=3)
      >>> section, _ = few.compress(None, jnp.array([0.0, 9.0, 1.0, 1.0]), jax.random.key(0))
      >>> few.decompress(section, 4).tolist()
      [0.0, 9.0, 1.0, 1.0]
    """
    share = check_probability("compressor.insignificant", insignificant)
    K = check_whole("compressor.num_clusters", num_clusters, 3 if share else 2, 64)
    check_name("compressor.coding", coding, _CODINGS)

    def compress(vector: jax.Array, key: jax.Array) -> Coded:
        if not share:
            centers = _best_centers(vector, jnp.ones_like(vector), K)
            return Coded(centers, _rounded(vector, centers, key), coding)
        weights = jnp.zeros_like(vector).at[largest(vector, 1 - share)].set(1)
        rest = jnp.sum((1 - weights) * vector) / jnp.maximum(jnp.sum(1 - weights), 1)
        centers = _best_centers(vector, weights, K - 1)
        codes = _rounded(vector, centers, key)
        place = jnp.sum(centers < rest).astype(jnp.uint8)
        codes = jnp.where(weights > 0, codes + (codes >= place), place)
        return Coded(jnp.sort(jnp.append(centers, rest)), codes, coding)

    return stateless(compress)


def _rounded(values: jax.Array, centers: jax.Array, key: jax.Array) -> jax.Array:
    """The code of a center next to each value, drawn: u8[n]."""
    code = codebook.encode(centers[:-1], values, limits=centers[1:-1])
    lower, upper = centers[code], centers[code.astype(jnp.int32) + 1]
    share = (values - lower) / jnp.where(upper > lower, upper - lower, 1)
    return code + (jax.random.uniform(key, values.shape) < share).astype(jnp.uint8)


def _best_centers(values: jax.Array, weights: jax.Array, num_clusters: int) -> jax.Array:
    """The centers of the least sum of (u - c_j) (c_{j+1} - u): f32[K], ascending.

    The optimum lies on values: between two of them the sum is linear in each center.

    Args:
      values: f32[n].
      weights: f32[n] of 0, which do not count, and 1, at least one of them.
      num_clusters: K, at least 2.
    """
    low = jnp.min(jnp.where(weights > 0, values, jnp.inf))
    high = jnp.max(jnp.where(weights > 0, values, -jnp.inf))
    count = min(values.size, max(254, 16 * num_clusters))
    between = codebook.fit(values, count, weights=weights)
    places = jnp.concatenate([low[None], jnp.clip(between, low, high), high[None]])
    cell = codebook.encode(places[:-1], values, limits=places[1:-1]).astype(jnp.int32)
    above = jnp.zeros(count + 1).at[cell].add(weights * (values - places[cell]))
    number = jnp.zeros(count + 1).at[cell].add(weights)
    means = places[:-1] + above / jnp.maximum(number, 1)
    chosen = _least_way(_costs(places, number, means), num_clusters)
    return places[chosen]


def _costs(places: jax.Array, number: jax.Array, means: jax.Array) -> jax.Array:
    """What the values between any two places cost if these are neighbouring centers: f32[R, R].

    Without what each cell between neighbouring places costs in any case, the spread in it.
    """
    extent = places[-1] - places[0]
    unit = jnp.where(extent > 0, extent, 1)
    apart = (places - places[:, None]) / unit
    order = jnp.arange(places.size)
    beyond = jnp.maximum((means - places[:, None]) / unit, 0) * (order[:-1] >= order[:, None])
    once = prefix_sum(number * beyond, CPU)
    twice = prefix_sum(number * beyond**2, CPU)
    return jnp.where(order >= order[:, None], jnp.maximum(apart * once - twice, 0), jnp.inf)


def _least_way(costs: jax.Array, stops: int) -> jax.Array:
    """The places, from the first to the last in so many stops, that cost least: i32[stops]."""

    def forward(best: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        every = best[:, None] + costs
        return jnp.min(every, axis=0), jnp.argmin(every, axis=0).astype(jnp.int32)

    def backward(place: jax.Array, came: jax.Array) -> tuple[jax.Array, jax.Array]:
        return came[place], came[place]

    _, came = jax.lax.scan(forward, costs[0], None, length=stops - 2)
    last = jnp.int32(len(costs) - 1)
    _, between = jax.lax.scan(backward, last, came, reverse=True)
    return jnp.concatenate([jnp.zeros(1, jnp.int32), between, last[None]])
