"""SGD, Adam and AdamW in NumPy, and how the learning rate falls; other optimisers are traced."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Optimizer(NamedTuple):
    """An optimiser in NumPy.

    Attributes:
      init: params -> state.
      step: (grads, state, params, learning rate) -> (params, state), all of one float type.
    """

    init: Callable[[Any], Any]
    step: Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def by_name(name: str, arguments: Mapping[str, Any], weight_decay: float) -> Optimizer | None:
    """The optimiser that a config names.

    Args:
      name: ``local.optimizer``.
      arguments: ``local.optimizer_args``.
      weight_decay: ``local.weight_decay``, added to the gradient times the params.

    Returns:
      The optimiser; None for one that is not written here, or with arguments that are not.

    Example:
      >>> sgd = by_name("sgd", {"momentum": 0.5}, 0.0)
      >>> one = np.ones(1)
      >>> params, state = sgd.step(one, sgd.init(one), one, 0.1)
      >>> sgd.step(one, state, params, 0.1)[0].tolist()
      [0.75]
    """
    known: dict[str, tuple[set[str], Callable[..., Optimizer]]] = {
        "sgd": ({"momentum", "nesterov"}, _sgd),
        "adam": (_BETAS, _adam),
        "adamw": (_BETAS | {"weight_decay"}, _adamw),
    }
    if name not in known or not set(arguments) <= known[name][0]:
        return None
    make = known[name][1]
    own = make(**arguments)

    def step(grads: Any, state: Any, params: Any, rate: Any) -> tuple[Any, Any]:
        if weight_decay:
            grads = jax.tree.map(lambda g, p: g + p.dtype.type(weight_decay) * p, grads, params)
        return own.step(grads, state, params, rate)

    return Optimizer(own.init, step)


_BETAS = {"b1", "b2", "eps"}


def _sgd(momentum: float | None = None, nesterov: bool = False) -> Optimizer:
    share = momentum or 0.0

    def step(grads: Any, moved: Any, params: Any, rate: Any) -> tuple[Any, Any]:
        moved = jax.tree.map(lambda g, m: g + m.dtype.type(share) * m, grads, moved)
        ahead = moved
        if nesterov and share:
            ahead = jax.tree.map(lambda g, m: g + m.dtype.type(share) * m, grads, moved)
        return jax.tree.map(lambda p, m: p - p.dtype.type(rate) * m, params, ahead), moved

    return Optimizer(lambda params: jax.tree.map(np.zeros_like, params), step)


def _adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
) -> Optimizer:
    def init(params: Any) -> tuple:
        zeros = jax.tree.map(np.zeros_like, params)
        return zeros, zeros, 0

    def step(grads: Any, state: tuple, params: Any, rate: Any) -> tuple[Any, Any]:
        mean, square, count = state
        count += 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, mean, grads)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, square, grads)

        def moved(p: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
            number = p.dtype.type
            m = m / (1 - number(b1) ** number(count))
            v = v / (1 - number(b2) ** number(count))
            change = m / (np.sqrt(v) + number(eps)) + number(weight_decay) * p
            return p - number(rate) * change

        return jax.tree.map(moved, params, mean, square), (mean, square, count)

    return Optimizer(init, step)


def _adamw(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 1e-4
) -> Optimizer:
    return _adam(b1, b2, eps, weight_decay)


def learning_rate(rate: float, decay: str, number: int, rounds: int) -> float:
    """The learning rate of a round, counted from 1, as ``local.decay`` has it.

    Example:
      >>> [round(float(learning_rate(1.0, "cosine", t, 4)), 3) for t in (1, 2, 3, 4)]
      [1.0, 0.854, 0.5, 0.146]
    """
    done = (number - 1) / rounds
    if decay == "cosine":
        return rate * (1 + np.cos(np.pi * done)) / 2
    if decay == "step":
        return rate * (1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01)
    return rate
