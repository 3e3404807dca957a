"""Floating-point operations of a training step, counted in its jaxpr.

XLA's own count is of no use here: it takes the body of a loop once, custom calls not at all, and
the extra work of a faster lowering as if somebody had asked for it. So this one counts what the
mathematics asks for: the multiply-adds of matrix products and convolutions.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from fedcode_jax import randomness
from fedcode_jax.clients import LocalTraining
from fedcode_jax.clients.device_memory import inner_jaxprs
from fedcode_jax.clients.training import Weights


class Work(NamedTuple):
    """Multiply-adds of a function and of its gradient.

    Attributes:
      forward: of the function.
      training: of the function and its gradient: an operand that depends on the weights costs
        one more product of the same size, so a layer counts three times, and one whose input
        does not depend on the weights (the first) twice.
    """

    forward: int
    training: int

    def __add__(self, other: "Work") -> "Work":  # type: ignore[override]
        return Work(self.forward + other.forward, self.training + other.training)

    def times(self, count: int) -> "Work":
        """The work of ``count`` calls."""
        return Work(self.forward * count, self.training * count)


def work_of(function: Callable[..., Any], weights: Any, *inputs: Any) -> Work:
    """Counts the multiply-adds of ``function(weights, *inputs)``, tracing it only.

    Where a function has one form for each platform, the general one counts: the others add or save
    work to suit a machine. A convolution's zeros around the image are counted, as is usual.

    Args:
      function: of arrays.
      weights: a pytree, what the gradient is taken of; shapes are enough.
      *inputs: its further arguments; shapes are enough.

    Returns:
      The work of one call.

    Raises:
      ValueError: a product inside a while loop, which has no reverse-mode gradient.

    Example:
      >>> work_of(lambda w, x: (x @ w) @ w, jnp.ones((5, 5)), jnp.ones((2, 5)))
      Work(forward=100, training=250)
    """
    closed = jax.make_jaxpr(function)(weights, *inputs)
    count = len(jax.tree.leaves(weights))
    active = [i < count for i in range(len(closed.jaxpr.invars))]
    return _walk(closed.jaxpr, active)[0]


def training_flops(training: LocalTraining, model: Any, weights: Weights, x: Any) -> Work:
    """Counts floating-point operations of a client's step: loss and gradient of a whole batch.

    A multiply-add is two operations. What is not a matrix product or a convolution, such as
    activations, normalisation and the optimiser, is not counted.

    Args:
      training: what a client does.
      model: its model, natively lowered.
      weights: the variables of the model.
      x: the samples of all clients; their shape and type are looked at.

    Returns:
      FLOP of one step.
    """
    size = training.batch_size
    params = weights["params"]
    state = {name: value for name, value in weights.items() if name != "params"}
    images = jax.ShapeDtypeStruct((size, *x.shape[1:]), jnp.float32)
    labels = jax.ShapeDtypeStruct((size,), jnp.int32)
    mask = jax.ShapeDtypeStruct((size,), jnp.bool_)
    loss = dataclasses.replace(training, model=model).batch_loss
    key = randomness.key(0)
    return work_of(loss, params, state, params, images, labels, mask, key).times(2)


def _walk(jaxpr: core.Jaxpr, active: Sequence[bool]) -> tuple[Work, list[bool]]:
    """The work of a jaxpr, and which of its outputs depend on the weights."""
    depends = dict(zip(jaxpr.invars, active, strict=True))
    total = Work(0, 0)

    def is_active(atom: Any) -> bool:
        return not isinstance(atom, core.Literal) and depends.get(atom, False)

    for equation in jaxpr.eqns:
        operands = [is_active(atom) for atom in equation.invars]
        work, results = _equation(equation, operands)
        total = total + work
        depends.update(zip(equation.outvars, results, strict=True))
    return total, [is_active(atom) for atom in jaxpr.outvars]


def _equation(equation: Any, active: list[bool]) -> tuple[Work, list[bool]]:
    name = equation.primitive.name
    anywhere = [any(active)] * len(equation.outvars)
    if name in ("dot_general", "conv_general_dilated"):
        multiply_adds = (_dot if name == "dot_general" else _conv)(equation)
        return Work(multiply_adds, multiply_adds * (1 + sum(active))), anywhere
    inner = list(inner_jaxprs(equation))
    if not inner:
        return Work(0, 0), anywhere
    if name == "cond":
        branches = [_inside(branch, active[1:], anywhere) for branch in inner]
        # One branch a platform; the last is for all others, and computes it the plain way.
        return branches[-1][0], [any(ways) for ways in zip(*(b[1] for b in branches), strict=True)]
    if name in ("scan", "while"):  # what one turn makes dependent, all the next ones are
        work, _ = _inside(inner[-1], [any(active)] * len(inner[-1].invars), anywhere)
        if name == "while" and work.forward:
            raise ValueError("the products of a while loop cannot be counted")
        return work.times(equation.params.get("length", 1)), anywhere
    return _inside(inner[0], active, anywhere)


def _inside(
    jaxpr: core.Jaxpr, active: Sequence[bool], otherwise: list[bool]
) -> tuple[Work, list[bool]]:
    """Walks a jaxpr that is called, whose arguments are those of its caller in most cases."""
    if len(active) != len(jaxpr.invars):
        active = [any(active)] * len(jaxpr.invars)
    work, results = _walk(jaxpr, active)
    return work, results if len(results) == len(otherwise) else otherwise


def _dot(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    inner = math.prod(shape[axis] for axis in contracted)
    return math.prod(equation.outvars[0].aval.shape) * inner


def _conv(equation: Any) -> int:
    """Every output takes a whole window of one group's channels."""
    kernel = equation.invars[1].aval.shape
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // features
