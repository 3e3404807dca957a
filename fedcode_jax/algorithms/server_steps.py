"""How the server moves along the clients' mean change: optimisers of optax's form.

They are given the mean change with its sign turned, as if it were a gradient.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedcode_jax.limits import check_real

_MOST = 0.999999  # of a share that is kept from round to round


class AdaptiveState(NamedTuple):
    """Of an adaptive step: m and v, each of the form of the weights."""

    mean: Any
    square: Any


def sgd(learning_rate: float = 1.0, momentum: float = 0.0) -> optax.GradientTransformation:
    """Server momentum; at its defaults the server adds the mean change, as FedAvg does.

        m <- momentum m + d,   w <- w + learning_rate m

    Args:
      learning_rate: above 0.
      momentum: 0 for none, below 1.

    Returns:
      The step.

    Raises:
      ConfigError: a value that is not allowed.

    Source: Hsu, Qi and Brown, arXiv 1909.06335 (FedAvgM).

    Example:
      >>> step = sgd(momentum=0.5)
      >>> change, state = step.update(jnp.array([-2.0]), step.init(jnp.zeros(1)))
      >>> change, state = step.update(jnp.array([-2.0]), state)
      >>> change.tolist()
      [3.0]
    """
    check_real("algorithm.server.learning_rate", learning_rate, 0, above=True)
    check_real("algorithm.server.momentum", momentum, 0, _MOST)
    return optax.sgd(learning_rate, momentum or None)


def adam(
    learning_rate: float = 0.01, b1: float = 0.9, b2: float = 0.99, tau: float = 1e-3
) -> optax.GradientTransformation:
    """FedAdam: v <- b2 v + (1 - b2) d^2.

        m <- b1 m + (1 - b1) d,   w <- w + learning_rate m / (sqrt(v) + tau)

    As published: nothing corrects the first rounds, and v begins at tau^2.

    Args:
      learning_rate: above 0.
      b1: of the mean, 0 to below 1.
      b2: of the squares, likewise.
      tau: how far from adaptive it is, above 0.

    Returns:
      The step.

    Raises:
      ConfigError: a value that is not allowed.

    Source: Reddi et al., arXiv 2003.00295, algorithm 2.

    Example:
      >>> step = adam(learning_rate=1.0, b1=0.0, b2=0.0, tau=1.0)
      >>> change, _ = step.update(jnp.array([-3.0]), step.init(jnp.zeros(1)))
      >>> change.tolist()
      [0.75]
    """
    check_real("algorithm.server.b2", b2, 0, _MOST)
    return _adaptive(lambda v, d2: b2 * v + (1 - b2) * d2, learning_rate, b1, tau)


def yogi(
    learning_rate: float = 0.01, b1: float = 0.9, b2: float = 0.99, tau: float = 1e-3
) -> optax.GradientTransformation:
    """FedYogi: v <- v - (1 - b2) d^2 sign(v - d^2); all else as ``adam``.

    Args:
      learning_rate: above 0.
      b1: of the mean, 0 to below 1.
      b2: of the squares, likewise.
      tau: how far from adaptive it is, above 0.

    Returns:
      The step.

    Raises:
      ConfigError: a value that is not allowed.

    Source: Reddi et al., arXiv 2003.00295, algorithm 2.

    Example:
      >>> step = yogi(learning_rate=1.0, b1=0.0, b2=0.0, tau=1.0)
      >>> change, _ = step.update(jnp.array([-3.0]), step.init(jnp.zeros(1)))
      >>> round(float(change[0]), 4)
      0.7208
    """
    check_real("algorithm.server.b2", b2, 0, _MOST)
    return _adaptive(lambda v, d2: v - (1 - b2) * d2 * jnp.sign(v - d2), learning_rate, b1, tau)


def adagrad(
    learning_rate: float = 0.01, b1: float = 0.0, tau: float = 1e-3
) -> optax.GradientTransformation:
    """FedAdagrad: v <- v + d^2; all else as ``adam``.

    Args:
      learning_rate: above 0.
      b1: of the mean, 0 to below 1.
      tau: how far from adaptive it is, above 0.

    Returns:
      The step.

    Raises:
      ConfigError: a value that is not allowed.

    Source: Reddi et al., arXiv 2003.00295, algorithm 2.

    Example:
      >>> step = adagrad(learning_rate=1.0, tau=1.0)
      >>> change, _ = step.update(jnp.array([-3.0]), step.init(jnp.zeros(1)))
      >>> round(float(change[0]), 4)
      0.7208
    """
    return _adaptive(lambda v, d2: v + d2, learning_rate, b1, tau)


def _adaptive(
    squares: Callable[[jax.Array, jax.Array], jax.Array],
    learning_rate: float,
    b1: float,
    tau: float,
) -> optax.GradientTransformation:
    """The step of algorithm 2, whose forms differ in how v takes up d^2."""
    check_real("algorithm.server.learning_rate", learning_rate, 0, above=True)
    check_real("algorithm.server.b1", b1, 0, _MOST)
    check_real("algorithm.server.tau", tau, 0, above=True)

    def init(params: Any) -> AdaptiveState:
        return AdaptiveState(
            jax.tree.map(jnp.zeros_like, params),
            jax.tree.map(lambda leaf: jnp.full_like(leaf, tau**2), params),
        )

    def update(
        gradient: Any, state: AdaptiveState, params: Any = None
    ) -> tuple[Any, AdaptiveState]:
        mean = jax.tree.map(lambda m, g: b1 * m - (1 - b1) * g, state.mean, gradient)
        square = jax.tree.map(lambda v, g: squares(v, g * g), state.square, gradient)
        change = jax.tree.map(lambda m, v: learning_rate * m / (jnp.sqrt(v) + tau), mean, square)
        return change, AdaptiveState(mean, square)

    return optax.GradientTransformation(init, update)


registry: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adagrad": adagrad,
    "adam": adam,
    "sgd": sgd,
    "yogi": yogi,
}
"""The steps that ``algorithm.server.name`` can choose."""
