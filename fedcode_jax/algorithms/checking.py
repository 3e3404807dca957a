"""Whether an algorithm keeps to the contract, as far as shapes tell, before anything compiles."""

from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax import randomness, schedules
from fedcode_jax.algorithms.base import Algorithm, At, Start, Work
from fedcode_jax.algorithms.layout import Weights, trainable, with_trainable
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Message


def check_contract(algorithm: Algorithm, weights: Weights) -> None:
    """Traces every function of an algorithm once, for two clients, and looks at what it gives.

    Args:
      algorithm: the algorithm.
      weights: the variables of the model, or their shapes.

    Raises:
      ConfigError: which function gives something else than the contract says.

    Example:
      >>> from fedcode_jax.algorithms import fedavg
      >>> wrong = fedavg()._replace(receive=lambda stored, message, common: {})
      >>> check_contract(wrong, {"params": {"kernel": jnp.zeros(3)}})
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: algorithm.receive: gives dict; it must give a Start
    """
    if (algorithm.common is None) != (algorithm.whole is None):
        raise ConfigError("algorithm: common and whole need each other; give both, or neither")
    try:
        jax.eval_shape(lambda weights: _round(algorithm, weights), weights)
    except ConfigError as error:
        raise ConfigError(str(error)) from None  # without JAX's notes on its own frames


def _round(algorithm: Algorithm, weights: Weights) -> None:
    clients, sends, key = 2, schedules.always()(1), randomness.key(0)
    server, store = algorithm.init(weights, clients)
    _check_axis("init", "store", store, clients)
    common = None if algorithm.common is None else algorithm.common(server)
    message, server = algorithm.broadcast(server, sends, key)
    _check_message("broadcast", message)
    stored = jax.tree.map(lambda leaf: leaf[0], store)
    start = algorithm.receive(stored, message, common)
    _check_kind("receive", start, Start)
    _check_like("receive", "weights", _seen(algorithm, start, key), weights)
    nothing = jnp.float32(0)
    work = Work(start, start.weights, jnp.int32(1), nothing, nothing)
    upload, stored_after = algorithm.upload(stored, work, sends, key)
    _check_message("upload", upload)
    _check_like("upload", "what is stored", stored_after, stored)
    if algorithm.lost is not None:
        _check_like("lost", "what is stored", algorithm.lost(stored_after, upload), stored)
    if algorithm.heard is not None:
        whole, agreed = algorithm.heard(stored_after, upload)
        _check_like("heard", "the message", whole, upload)
        _check_like("heard", "what is stored", agreed, stored)
    if algorithm.restarted is not None:
        _check_like("restarted", "what is stored", algorithm.restarted(stored_after), stored)
    uploads = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * clients), upload)
    after = algorithm.aggregate(server, uploads, jnp.ones(clients), sends)
    _check_like("aggregate", "the server's state", after, server)
    if algorithm.portable is not None:
        _check_like("portable", "weights", algorithm.portable(after).weights, weights)
    if algorithm.personal is not None:
        _check_like("personal", "weights", algorithm.personal(after, stored_after), weights)
    for name, models in zip(("weights", "deployed"), algorithm.report(after, store), strict=True):
        if models is not None:
            one = jax.tree.map(lambda leaf: leaf[0] if leaf.ndim else leaf, models)
            _check_like("report", f"{name} without their leading axis", one, weights)


def _seen(algorithm: Algorithm, start: Start, key: jax.Array) -> Weights:
    """The weights that a client starts from, as its model is applied with them."""
    view, at = algorithm.objective.view, At(jnp.int32(0), jnp.int32(1))
    if view is None:
        return start.weights
    seen = view(trainable(start.weights), start.carried, at, key)
    return with_trainable(start.weights, seen)


def _check_kind(function: str, found: Any, kind: type) -> None:
    if not isinstance(found, kind):
        raise ConfigError(
            f"algorithm.{function}: gives {type(found).__name__}; it must give a {kind.__name__}"
        )


def _check_message(function: str, message: Any) -> None:
    _check_kind(function, message, Message)
    if not isinstance(message.sections, tuple):
        raise ConfigError(
            f"algorithm.{function}: its message has sections of type "
            f"{type(message.sections).__name__}; they must be a tuple"
        )
    if jnp.shape(message.kind) != ():
        raise ConfigError(f"algorithm.{function}: the kind of its message must be one i32[]")


def _check_axis(function: str, what: str, tree: Any, size: int) -> None:
    for leaf in jax.tree.leaves(tree):
        if jnp.shape(leaf)[:1] != (size,):
            raise ConfigError(
                f"algorithm.{function}: its {what} has an array of shape {jnp.shape(leaf)}; all "
                f"must have a leading axis of clients, here {size}"
            )


def _check_like(function: str, what: str, found: Any, expected: Any) -> None:
    def shapes(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: (jnp.shape(leaf), str(jnp.result_type(leaf))), tree)

    if shapes(found) != shapes(expected):
        raise ConfigError(
            f"algorithm.{function}: {what} must have the structure, shapes and types that they "
            f"had before, {shapes(expected)}; they have {shapes(found)}"
        )
