"""Batch norm that keeps the running averages it was sent, in training as in evaluation."""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from fedcode_jax.models.norm import BatchNorm

Path = tuple[str, ...]


class _Context(NamedTuple):
    """What holds inside of ``fixed_norm``: the switch, and the layers met so far."""

    fixed: Array | bool
    met: set[Path]


_now: contextvars.ContextVar[_Context | None] = contextvars.ContextVar("fixed_norm", default=None)
_FLAX_CALL = inspect.unwrap(nn.BatchNorm.__call__)


@contextlib.contextmanager
def fixed_norm(fixed: Array | bool | None) -> Iterator[set[Path]]:
    """Batch norm that trains with its running averages, for models applied in its context.

    FixBN: from some round on, clients normalise with the averages that they were sent, in training
    as in evaluation, and no longer change them. The gradient then does not pass through mean and
    variance, and a sample no longer depends on the others of its batch. ``fixed`` may be traced,
    so that rounds of both kinds are one program.

    It acts on :class:`fedcode_jax.models.BatchNorm`, on flax's ``linen.BatchNorm``, and on
    ``nnx.BatchNorm`` in models of :func:`fedcode_jax.models.adapted`, and on subclasses of these
    that do not override ``__call__``.

    Args:
      fixed: bool[], whether the averages stay as they are; None changes nothing.

    Yields:
      The paths of the layers that it acts on, once the model has been applied.

    References:
      Zhong, Chen and Chao, Making batch normalization great in federated deep learning,
      arXiv 2303.06530.

    Example:
      >>> layer = BatchNorm()
      >>> variables = {"params": {"scale": jnp.ones(1), "bias": jnp.zeros(1)},
      ...              "batch_stats": {"mean": jnp.ones(1), "var": jnp.ones(1)}}
      >>> x = jnp.array([[1.0], [3.0]])
      >>> with fixed_norm(True):
      ...     y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
      >>> y.round(3)[:, 0].tolist(), updated["batch_stats"]["mean"].tolist()
      ([0.0, 2.0], [1.0])
    """
    if fixed is None:
        yield set()
        return
    context = _Context(fixed, set())

    def with_fixed(layer: Any, args: tuple, kwargs: dict, called: Any) -> Any:
        module = called.module
        if isinstance(module, BatchNorm) and called.method_name == "__call__":
            context.met.add(module.path)
            return layer(*args, **{**kwargs, "fixed": fixed})
        if isinstance(module, nn.BatchNorm) and called.orig_method.func is _FLAX_CALL:
            context.met.add(module.path)
            return _flax_norm(module, layer, *args, **kwargs)
        return layer(*args, **kwargs)

    token = _now.set(context)
    try:
        with nn.intercept_methods(with_fixed):
            yield context.met
    finally:
        _now.reset(token)


def _flax_norm(
    module: Any,
    layer: Any,
    x: Array,
    use_running_average: bool | None = None,
    *,
    mask: Array | None = None,
) -> Array:
    """``linen.BatchNorm`` in training, both ways, and what the switch says of either."""
    given = use_running_average
    evaluated = module.use_running_average if given is None else given
    if evaluated or module.is_initializing():
        return layer(x, given, mask=mask)
    before = jax.tree.map(lambda leaf: leaf, module.variables)  # the layer writes into its own
    fixed = _fixed()
    free = layer(x, given, mask=mask)
    for name, old in before["batch_stats"].items():
        new = module.get_variable("batch_stats", name)
        module.put_variable("batch_stats", name, jnp.where(fixed, old, new))
    # A copy of the layer outside of the model: a compact method runs once in a call.
    alone = module.clone(parent=None, use_running_average=None)
    held = alone.apply(before, x, True, method=nn.BatchNorm.__call__)
    return jnp.where(fixed, held, free)


def _fixed() -> Array | bool:
    context = _now.get()
    return False if context is None else context.fixed


def fix_nnx(module: nnx.Module) -> None:
    """Makes every ``nnx.BatchNorm`` of a module heed ``fixed_norm``; does nothing outside of it.

    Args:
      module: a copy that nobody else holds; its layers change their class.
    """
    context = _now.get()
    if context is None:
        return
    for path, node in nnx.iter_graph(module):
        if isinstance(node, nnx.BatchNorm) and type(node).__call__ is nnx.BatchNorm.__call__:
            object.__setattr__(node, "__class__", _switched(type(node)))
            context.met.add(tuple(map(str, path)))


@functools.cache
def _switched(kind: Any) -> Any:
    """A subclass of ``nnx.BatchNorm`` that heeds ``fixed_norm``: one for each class there is."""

    class Switched(kind):
        def __call__(
            self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
        ) -> Array:
            given = use_running_average
            if self.use_running_average if given is None else given:
                return super().__call__(x, True)
            old, fixed = (self.mean[...], self.var[...]), _fixed()
            free = super().__call__(x, False, mask=mask)
            new = self.mean[...], self.var[...]
            self.mean[...], self.var[...] = old
            held = super().__call__(x, True)
            kept = [jnp.where(fixed, a, b) for a, b in zip(old, new, strict=True)]
            self.mean[...], self.var[...] = kept
            return jnp.where(fixed, held, free)

    return Switched
