"""PowerSGD: a matrix as a product of two of few columns, by a step of power iteration."""

import math

import jax
import jax.numpy as jnp

from fedcode_jax import randomness, wire
from fedcode_jax.compress.base import Compressor, finite, stateless
from fedcode_jax.limits import check_whole
from fedcode_jax.wire import Dense, LowRank

_EXACT = jax.lax.Precision.HIGHEST
_NEGLIGIBLE = 1e-5  # of a column: what rounding leaves of one that depends on others


def powersgd(rank: int = 2, warm_start: bool = True) -> Compressor:
    """The change of a kernel as a matrix M f32[n, m], sent as two factors of r columns.

        P <- M Q,   P <- orthonormal columns of P,   Q <- M^T P,   read as  P Q^T

    The last axis of the kernel is the columns of M, all others its rows. Q goes on from the last
    matrix, so that repeated on one M this is subspace iteration, and P Q^T the best matrix of rank
    r; it is drawn from a normal distribution where there is none yet, or a column of it is zero.
    Variables for which r (n + m) >= n m, biases among them, go as floats, exactly.

    The published steps average P over the workers before Q is made, and Q after it: two exchanges,
    after which all hold the same P Q^T. Here each sender makes both factors of its own matrix, and
    the server averages the products, a matrix of higher rank; used down, its rank is cut again.

    A value takes 32 r (n + m) / (n m) bits as published. The factors are rounded to 12 significant
    bits, so that both sides of a message make the same matrix of them, and take 20 each. A sender
    keeps Q, 4 r m bytes a kernel.

    Args:
      rank: r, 1 to 64.
      warm_start: whether Q goes on from the last matrix; else it is drawn each time.

    Returns:
      The compressor, biased: wrap it in ``error_feedback``. Its ``for_shape`` is the one of a
      kernel; without a shape a vector is a vector, and goes as floats. Q needs no undoing.

    Raises:
      ConfigError: another rank.

    Source: Vogels, Karimireddy and Jaggi, arXiv 1905.13727, algorithm 1.

    Example:
      >>> matrix = jnp.outer(jnp.arange(1.0, 9.0), jnp.arange(1.0, 5.0))
      >>> fitted = powersgd(rank=1).for_shape(matrix.shape)
      >>> section, _ = fitted.compress(fitted.init(32), matrix.ravel(), jax.random.key(0))
      >>> section.left.shape, section.right.shape
      ((8, 1), (4, 1))
      >>> bool(jnp.allclose(fitted.decompress(section, 32), matrix.ravel(), rtol=1e-3))
      True
    """
    r = check_whole("compressor.rank", rank, 1, 64)
    as_floats = stateless(lambda vector, key: Dense(vector))

    def for_shape(shape: tuple[int, ...]) -> Compressor:
        n, m = math.prod(shape[:-1]), math.prod(shape[-1:])
        return as_floats if r * (n + m) >= n * m else _of_matrices(n, m, r, warm_start)

    return as_floats._replace(for_shape=for_shape)


@randomness.standard_parts
def _of_matrices(n: int, m: int, r: int, warm_start: bool) -> Compressor:
    def compress(
        memory: jax.Array | None, vector: jax.Array, key: jax.Array
    ) -> tuple[LowRank, jax.Array | None]:
        matrix, drawn = vector.reshape(n, m), jax.random.normal(key, (m, r))
        Q = drawn if memory is None else jnp.where(jnp.any(memory != 0, axis=0), memory, drawn)
        P = wire.rounded_factor(_orthonormal(jnp.matmul(matrix, Q, precision=_EXACT)))
        Q = wire.rounded_factor(jnp.matmul(matrix.T, P, precision=_EXACT))
        return LowRank(P, Q), None if memory is None else finite(Q)

    return Compressor(
        init=lambda size: jnp.zeros((m, r)) if warm_start else None,
        compress=compress,
        decompress=wire.values,
    )


def _orthonormal(columns: jax.Array) -> jax.Array:
    """Gram-Schmidt, every column twice; what depends on the columns before it becomes zero."""
    basis = jnp.zeros_like(columns)
    for k in range(columns.shape[1]):
        column = _unit(columns[:, k])
        for _ in range(2):
            along = jnp.matmul(basis.T, column, precision=_EXACT)
            left = column - jnp.matmul(basis, along, precision=_EXACT)
            # Rounding may leave what is parallel to those before, and length 1 would make it count.
            column = _unit(jnp.where(jnp.linalg.norm(left) > _NEGLIGIBLE, left, 0))
        basis = basis.at[:, k].set(column)
    return basis


def _unit(column: jax.Array) -> jax.Array:
    largest = jnp.max(jnp.abs(column))
    shares = column / jnp.where(largest > 0, largest, 1)
    return shares / jnp.maximum(jnp.linalg.norm(shares), 1)
