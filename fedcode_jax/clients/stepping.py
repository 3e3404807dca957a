"""An optimiser in a client's hands: its start of a round, and its step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

_NOISE = 3
"""The purpose of a client's key of a round that an optimiser's own draws have."""
_WORDS = 4
"""Of an optimiser's key, as far as it counts: a longer one has no more seeds."""


def begun(optimizer: optax.GradientTransformation, params: Any, key: jax.Array) -> Any:
    """The state before a client's first step, with keys of its own.

    An optimiser that draws begins with a fixed key, as if there were one training. Here there is
    one a client and round, so its keys are made of the client's: its draws differ by client, round
    and experiment, and follow from these alone. A seed that was given to it counts as well.

    Args:
      optimizer: the optimiser.
      params: what it is to change.
      key: of the client in this round.

    Returns:
      The state; of an optimiser that does not draw, what its ``init`` gives.

    Example:
      >>> noisy = optax.add_noise(eta=0.1, gamma=0.5, key=0)
      >>> keys = [begun(noisy, jnp.ones(2), jax.random.key(i)).rng_key for i in range(2)]
      >>> bool(keys[0] == keys[1])
      False
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(optimizer.init(params))
    own = [
        _own(leaf, jax.random.fold_in(jax.random.fold_in(key, _NOISE), number))
        if _is_key(path, leaf)
        else leaf
        for number, (path, leaf) in enumerate(leaves)
    ]
    return jax.tree.unflatten(treedef, own)


def updated(
    optimizer: optax.GradientTransformation,
    grads: Any,
    state: Any,
    params: Any,
    *,
    value: jax.Array,
    grad: Any,
    value_fn: Callable[[Any], jax.Array],
) -> tuple[Any, Any]:
    """A step of any optimiser, also of one that asks for the loss or for the function itself.

    Args:
      optimizer: the optimiser.
      grads: what it goes by.
      state: its state.
      params: where it is.
      value: f32[], the loss there.
      grad: the gradient of the loss there, before an algorithm corrected it.
      value_fn: the loss of this step's batch elsewhere.

    Returns:
      The updates and the new state.

    Example:
      >>> w = jnp.ones(2)
      >>> loss = lambda w: jnp.sum(w**2)
      >>> step = dict(value=loss(w), grad=2 * w, value_fn=loss)
      >>> polyak = optax.polyak_sgd()
      >>> updated(polyak, 2 * w, polyak.init(w), w, **step)[0].tolist()
      [-0.5, -0.5]
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def loss(params: Any, obj_fn: Any = None) -> jax.Array:
        return value_fn(params)  # and a line search hands on, by name, what it has no use for

    # Sophia's name for the function is another.
    extra = {"value": value, "grad": grad, "value_fn": loss, "obj_fn": loss}
    return optimizer.update(grads, state, params, **extra)


def _is_key(path: tuple, leaf: Any) -> bool:
    """Whether a leaf of a state is a key, by its type or, if it is a raw one, by its name."""
    if not hasattr(leaf, "dtype"):
        return False
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return True
    name = str(getattr(path[-1], "name", getattr(path[-1], "key", ""))) if path else ""
    raw = leaf.dtype == jnp.uint32 and jnp.shape(leaf) in ((2,), (4,))
    return raw and ("key" in name or "rng" in name)


def _own(leaf: jax.Array, key: jax.Array) -> jax.Array:
    """A key like that of the leaf, made of another and of its bits."""
    typed = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    data = (jax.random.key_data(leaf) if typed else leaf).ravel()
    for word in range(min(data.size, _WORDS)):
        key = jax.random.fold_in(key, data[word])
    if not typed:
        return jax.random.key_data(key)
    return jax.random.split(key, leaf.shape) if leaf.shape else key
