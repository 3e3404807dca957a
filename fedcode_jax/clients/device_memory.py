"""What training and evaluation take on a device, before anything is compiled."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from fedcode_jax import randomness
from fedcode_jax.clients.training import LocalTraining
from fedcode_jax.devices import leaf_bytes, tree_bytes

_BATCH = 64  # so large that a value of all samples is larger than the weights that made it


def client_bytes(training: LocalTraining, weights: Any, sample_shape: Sequence[int]) -> int:
    """An upper estimate of what one client of a chunk needs while it trains.

    The values that one step's forward pass leaves for the backward pass, twice the largest of
    them as working space, and three times the weights with the optimiser's state beside them.
    XLA needs less where it computes a value again instead of keeping it: half, for a ResNet
    with native convolutions.

    Args:
      training: what a client does.
      weights: the variables of the model, or their shapes.
      sample_shape: of one sample, without the batch.

    Returns:
      Bytes.

    Example:
      >>> from fedcode_jax import models
      >>> from fedcode_jax.clients import optimizer
      >>> training = LocalTraining(models.mlp(10), optimizer("sgd", 0.1), batch_size=10)
      >>> shapes = jax.eval_shape(lambda key: models.init(training.model, key, (64,)),
      ...                         jax.random.key(0))
      >>> client_bytes(training, shapes, (64,))
      74268
    """
    params = weights["params"]
    state = {name: value for name, value in weights.items() if name != "params"}

    def kept(params: Any, state: Any, x: jax.Array, y: jax.Array, mask: jax.Array) -> Any:
        key = randomness.key(0)
        return jax.vjp(lambda p: training.batch_loss(p, state, p, x, y, mask, key)[0], params)[1]

    batch = training.batch_size
    shape = jax.ShapeDtypeStruct
    residuals = jax.eval_shape(
        kept,
        params,
        state,
        shape((batch, *sample_shape), jnp.float32),
        shape((batch,), jnp.int32),
        shape((batch,), jnp.bool_),
    )
    sizes = [leaf_bytes(leaf) for leaf in jax.tree.leaves(residuals)]
    optimizer = tree_bytes(jax.eval_shape(training.optimizer_at(1.0).init, params))
    return sum(sizes) + 2 * max(sizes, default=0) + 3 * tree_bytes(weights) + optimizer


def waiting_bytes(training: LocalTraining, weights: Any, max_size: int) -> int:
    """What every client of a device takes while it waits for one of the packed slots, or has left.

    Its variables, twice while they are laid in rows and taken from them, and the order of its
    samples.

    Args:
      training: what a client does.
      weights: the variables of the model, or their shapes.
      max_size: the largest number of samples of any client.

    Returns:
      Bytes.

    Example:
      >>> from fedcode_jax import models
      >>> from fedcode_jax.clients import optimizer
      >>> training = LocalTraining(models.mlp(10), optimizer("sgd", 0.1), epochs=2)
      >>> waiting_bytes(training, {"params": jnp.zeros(100)}, 50)
      1200
    """
    return 2 * tree_bytes(weights) + 4 * training.epochs * max_size


def sample_bytes(model: Any, weights: Any, sample_shape: Sequence[int]) -> int:
    """An upper estimate of what a sample of a batch needs while the model is evaluated.

    Three times the largest value of a forward pass: an operation holds its result, what it is
    made of, and often a copy in another layout.

    Args:
      model: the flax module.
      weights: its variables, or their shapes.
      sample_shape: of one sample, without the batch.

    Returns:
      Bytes.

    Example:
      >>> from fedcode_jax import models
      >>> shapes = jax.eval_shape(lambda key: models.init(models.mlp(10), key, (64,)),
      ...                         jax.random.key(0))
      >>> sample_bytes(models.mlp(10), shapes, (64,))
      768
    """
    x = jax.ShapeDtypeStruct((_BATCH, *sample_shape), jnp.float32)
    forward = largest_value(lambda w, x: model.apply(w, x, train=False), weights, x)
    return 3 * max(tree_bytes(x), forward) // _BATCH


def largest_value(function: Callable[..., Any], *inputs: Any) -> int:
    """Bytes of the largest array that a function makes, on the way or in the end; only traced.

    Args:
      function: of arrays.
      *inputs: its arguments; shapes are enough.

    Returns:
      Bytes; 0 of a function that makes none.

    Example:
      >>> largest_value(lambda x: jnp.sum(jnp.outer(x, x)), jnp.zeros(10))
      400
    """
    return max(_values(jax.make_jaxpr(function)(*inputs).jaxpr), default=0)


def _values(jaxpr: core.Jaxpr) -> Iterator[int]:
    """Bytes of every value that a jaxpr makes, those inside of what it calls among them."""
    for equation in jaxpr.eqns:
        yield from (tree_bytes(variable.aval) for variable in equation.outvars)
        for inner in inner_jaxprs(equation):
            yield from _values(inner)


def inner_jaxprs(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """What an equation calls: the body of a loop, the branches of a condition, a function."""
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else [value]:
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
