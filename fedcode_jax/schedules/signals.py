"""How far models have moved or drifted apart, from the little that is sent of them."""

import jax
import jax.numpy as jnp

from fedcode_jax import randomness

SKETCH_SIZE = 32
"""Floats S of a sketch: the variance it tells is off by about sqrt(2 / S / (M - 1)) of itself."""

_SIGNS = 0x51A  # the key of the signs, which all clients share


@randomness.standardised
def moved(reference: jax.Array, centers: jax.Array, arrived: jax.Array) -> jax.Array:
    """How far the clients' codebooks lie from a reference, relative to its spread.

    The 1-D Wasserstein distance of two codebooks whose K centers weigh the same is the mean
    distance of centers of equal rank; it is taken in units of the reference's standard deviation
    and averaged over the clients.

    Args:
      reference: f32[G], ascending in each codebook.
      centers: f32[M, G], of the clients, likewise.
      arrived: bool[M], the clients that count.

    Returns:
      f32[], 0 where no client or no center counts, or where there are not as many of both.

    Example:
      >>> moved(jnp.array([-1.0, 1.0]), jnp.array([[-1.5, 1.5]]), jnp.array([True])).item()
      0.5
    """
    if reference.size == 0 or centers.shape[1] != reference.size:
        return jnp.float32(0)
    scale = jnp.std(reference)
    far = jnp.mean(jnp.abs(centers - reference), axis=1) / jnp.where(scale > 0, scale, 1)
    return jnp.sum(jnp.where(arrived, far, 0)) / jnp.maximum(jnp.sum(arrived), 1)


@randomness.standardised
def sketch(values: jax.Array, size: int = SKETCH_SIZE) -> jax.Array:
    """A few numbers that keep distances: sums of values under signs that all clients share.

    Number j is the sum of s_i v_i over all i with i mod S = j, with random signs s_i. The squared
    length of the sketch of a vector is that of the vector in the mean over the signs.

    Args:
      values: f32[n], the weights of a client.
      size: S.

    Returns:
      f32[S].

    Source: Alon, Matias and Szegedy's sketch, used for model variance by FDA, arXiv 2405.20988.

    Example:
      >>> sketch(jnp.ones(64)).shape
      (32,)
    """
    signs = jax.random.rademacher(randomness.key(_SIGNS), values.shape, values.dtype)
    padding = -values.size % size
    signed = jnp.pad(values * signs, (0, padding))
    return jnp.sum(signed.reshape(-1, size), axis=0)


@randomness.standardised
def model_variance(sketches: jax.Array, arrived: jax.Array) -> jax.Array:
    """Variance of the clients' models about their mean, relative to the mean's squared length.

        mean_i |w_i - w|^2 / |w|^2,  w = mean_i w_i

    Args:
      sketches: f32[M, S], of the w_i.
      arrived: bool[M], the clients that count.

    Returns:
      f32[], 0 where no client counts.

    Source: the statistic of FDA, arXiv 2405.20988, section 3. There clients send sketches of what
    they moved since the last synchronisation, and its exact length; a variance does not depend on
    the point from which positions are measured, so that sketches of the weights will do, and
    clients need not keep that point.

    Example:
      >>> model_variance(jnp.array([[3.0, 0.0], [1.0, 0.0]]), jnp.array([True, True])).item()
      0.25
    """
    count = jnp.maximum(jnp.sum(arrived), 1)
    chosen = arrived[:, None]
    mean = jnp.sum(jnp.where(chosen, sketches, 0), axis=0) / count
    variance = jnp.sum(jnp.where(chosen, jnp.square(sketches - mean), 0)) / count
    length = jnp.sum(jnp.square(mean))
    return variance / jnp.where(length > 0, length, 1)
