"""The tasks' models as pure functions of weights by flax path, for FedJAX's release of JAX."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array, lax

Weights = Mapping[str, Array]
Apply = Callable[[Weights, Array, Array | None], Array]


def model(name: str, *, dropout: bool) -> Apply:
    """A model of a task.

    Args:
      name: as the task says.
      dropout: whether it is on when a random key is given.

    Returns:
      (weights, x, key or None when not training) -> logits.
    """
    if name == "cnn_pfl":
        return lambda w, x, key: _cnn(w, x, key if dropout else None)
    if name == "mlp":
        return _mlp
    raise SystemExit(f"FedJAX's models have no state for the batch norm of {name}")


def _dense(w: Weights, name: str, x: Array) -> Array:
    return x @ w[f"params/{name}/kernel"] + w[f"params/{name}/bias"]


def _conv(w: Weights, name: str, x: Array) -> Array:
    kernel = w[f"params/{name}/kernel"]
    y = lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + w[f"params/{name}/bias"]


def _drop(key: Array | None, place: int, rate: float, x: Array) -> Array:
    if key is None:
        return x
    kept = jax.random.bernoulli(jax.random.fold_in(key, place), 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)


def _cnn(w: Weights, x: Array, key: Array | None) -> Array:
    x = jax.nn.relu(_conv(w, "conv1", x))
    x = jax.nn.relu(_conv(w, "conv2", x))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = _drop(key, 0, 0.25, x)
    x = jax.nn.relu(_dense(w, "dense", x.reshape(x.shape[0], -1)))
    return _dense(w, "head", _drop(key, 1, 0.5, x))


def _mlp(w: Weights, x: Array, key: Array | None) -> Array:
    del key
    return _dense(w, "head", jax.nn.relu(_dense(w, "dense1", x)))
