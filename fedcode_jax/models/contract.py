"""What a model is given and must give, and whether it does, before anything compiles.

A model is an object with two functions; ``adapted`` makes one of a flax module.

``init(key, x, train=False)`` gives the first variables for samples x f32[1, ...features]: a dict
of collections, nested dicts of float32 arrays. ``params``, which is trained, is one of them.
``batch_stats`` may be another: what the model itself changes while it trains, such as running
averages. The server averages both. There are no others.

``apply(variables, x, train=, mask=, mutable=, rngs=)`` gives logits [B, num_classes] of a floating
type for x [B, ...features], for every B.

* When it trains: ``train=True``, ``mask`` bool[B], ``mutable`` a list of the collections but
  ``params``, and ``rngs={"dropout": key}``, with another key in every step. It then gives
  (logits, collections), those in ``mutable`` with the structure, shapes and types that they had.
* When it is evaluated: ``train=False`` and nothing else; it gives the logits alone.
* x is normalised. It is float32, or bfloat16 if the experiment trains in that, as are the params
  that training passes in then; ``batch_stats`` and all updates are float32 in any case.
* The last batch of an epoch may be filled up to B. ``mask`` is false in rows that fill it up. They
  repeat the batch's own samples in turn: a model that does not look at the mask sees samples of
  this client alone, some of them once more. They count in no loss. In a batch of test samples, the
  last sample is repeated.
* It is traced under ``jit``, ``vmap`` over clients, ``grad`` and loops, and must be hashable: its
  equals share compiled programs.
* ``local.fix_norm_after`` makes batch norm train with its running averages, and leave them as they
  are. All that is in ``batch_stats`` must then belong to ``fedcode_jax.models.BatchNorm``,
  ``flax.linen.BatchNorm`` or ``flax.nnx.BatchNorm``.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.errors import ConfigError
from fedcode_jax.models.calling import told
from fedcode_jax.models.fixing import fixed_norm
from fedcode_jax.models.own import adapted

_COLLECTIONS = ("params", "batch_stats")
_SIZES = (3, 5)
"""Two sizes of a batch, neither of them a likely number of classes."""


def check_model(model: Any, input_shape: Sequence[int], num_classes: int) -> None:
    """Traces a model in training and evaluation, and looks at what it gives.

    Args:
      model: a flax model, or what ``adapted`` made of it.
      input_shape: of one sample, without the batch.
      num_classes: K.

    Raises:
      ConfigError: what of the contract in this file does not hold.

    Example:
      >>> from fedcode_jax import models
      >>> check_model(models.cnn(10), (8, 8, 1), 10)
      >>> check_model(models.cnn(10), (8, 8, 1), 26)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: model: gives float32[3, 10] for 3 samples; it must give ...
    """
    model, input_shape = adapted(model), tuple(input_shape)
    try:
        hash(model)
    except TypeError as error:
        raise ConfigError(
            f"model: cannot be hashed ({told(error)}); make its attributes tuples, numbers, "
            "strings or functions"
        ) from None
    variables = _first(model, input_shape)
    _check_variables(variables)
    for size in _SIZES:
        logits = _traced("evaluating", _evaluated, model, variables, input_shape, size)
        _check_logits(logits, size, num_classes)
        trained = _traced("training", _trained, model, variables, input_shape, size)
        if not (isinstance(trained, tuple) and len(trained) == 2):
            raise ConfigError("model: must give logits alone; it gives several things")
        _check_logits(trained[0], size, num_classes)
        _check_unchanged(trained[1], variables)


def check_fixed_norm(model: Any, input_shape: Sequence[int]) -> None:
    """Checks that ``fixed_norm`` governs everything in a model's ``batch_stats``.

    Args:
      model: a flax model, or what ``adapted`` made of it, that keeps to the contract.
      input_shape: of one sample, without the batch.

    Raises:
      ConfigError: there are no ``batch_stats``, or others than those of batch norm.

    Example:
      >>> from fedcode_jax import models
      >>> check_fixed_norm(models.cnn(10, norm="batch"), (8, 8, 1))
      >>> check_fixed_norm(models.cnn(10), (8, 8, 1))
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: local.fix_norm_after: cannot be used; the model has no ...
    """
    model, input_shape = adapted(model), tuple(input_shape)
    variables = _first(model, input_shape)
    if not jax.tree.leaves(variables.get("batch_stats", {})):
        raise ConfigError(
            "local.fix_norm_after: cannot be used; the model has no batch norm: set it to None"
        )
    with fixed_norm(True) as governed:
        _traced("training", _trained, model, variables, input_shape, _SIZES[0])
    for path, _ in jax.tree_util.tree_flatten_with_path(variables["batch_stats"])[0]:
        names = tuple(key.key for key in path)
        if names[:-1] not in governed or names[-1] not in ("mean", "var"):
            raise ConfigError(
                f"local.fix_norm_after: cannot be used; batch_stats/{'/'.join(names)} is no "
                "running average of a batch norm of fedcode_jax.models, flax.linen or flax.nnx: "
                "set it to None, or use one of these"
            )


def _first(model: Any, input_shape: tuple[int, ...]) -> Any:
    """The shapes of the first variables."""

    def first(key: jax.Array) -> Any:
        return dict(model.init(key, jnp.zeros((1, *input_shape)), train=False))

    return _guarded("init", first, input_shape, randomness.key(0))


def _evaluated(model: Any, variables: Any, x: jax.Array) -> Any:
    return model.apply(variables, x, train=False)


def _trained(model: Any, variables: Any, x: jax.Array) -> Any:
    return model.apply(
        variables,
        x,
        train=True,
        mask=jnp.ones(x.shape[0], bool),
        mutable=[name for name in variables if name != "params"],
        rngs={"dropout": randomness.key(0)},
    )


def _traced(
    doing: str, function: Any, model: Any, variables: Any, input_shape: tuple[int, ...], size: int
) -> Any:
    x = jax.ShapeDtypeStruct((size, *input_shape), jnp.float32)
    return _guarded(doing, functools.partial(function, model), input_shape, variables, x)


def _guarded(doing: str, function: Any, input_shape: tuple[int, ...], *inputs: Any) -> Any:
    """The shapes of what a function gives, or one line on why it gives nothing."""
    try:
        return jax.eval_shape(function, *inputs)
    except Exception as error:
        raise ConfigError(
            f"model: {doing} it with samples of shape {input_shape} raises {told(error)}; see "
            "fedcode_jax.models.contract for what a model is given"
        ) from None


def _check_variables(variables: Any) -> None:
    unknown = sorted(set(variables) - set(_COLLECTIONS))
    if unknown:
        raise ConfigError(
            f"model: has the collections {', '.join(unknown)} beside params and batch_stats; keep "
            "what is trained in params and what the model changes itself in batch_stats"
        )
    if not jax.tree.leaves(variables.get("params", {})):
        raise ConfigError("model: it has no params; there is nothing to train or send")
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        if leaf.dtype != jnp.float32:
            names = "/".join(str(getattr(key, "key", key)) for key in path)
            raise ConfigError(
                f"model: {names} is {leaf.dtype}; all variables must be float32, to compute in "
                "another type set execution.precision"
            )


def _check_logits(logits: Any, size: int, num_classes: int) -> None:
    if not hasattr(logits, "shape"):
        raise ConfigError(f"model: gives {type(logits).__name__}; it must give one array of logits")
    if logits.shape != (size, num_classes) or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ConfigError(
            f"model: gives {logits.dtype}{list(logits.shape)} for {size} samples; it must give "
            f"logits float32[{size}, {num_classes}], one for each class of the data"
        )


def _check_unchanged(found: Any, variables: Any) -> None:
    def told_shapes(tree: Any) -> dict[str, tuple]:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {
            "/".join(str(getattr(key, "key", key)) for key in path): (leaf.shape, str(leaf.dtype))
            for path, leaf in leaves
        }

    before = told_shapes({name: v for name, v in variables.items() if name != "params"})
    after = told_shapes(dict(found))
    changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
    if changed:
        name = changed[0]
        raise ConfigError(
            f"model: training changes {name} from {before.get(name, 'nothing')} to "
            f"{after.get(name, 'nothing')}; batch_stats must keep their structure, shapes and types"
        )
