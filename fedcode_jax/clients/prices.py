"""What a step takes on a kind of machine, by count: what it launches, and what a client moves."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from fedcode_jax import randomness
from fedcode_jax.clients.device_memory import inner_jaxprs
from fedcode_jax.clients.training import LocalTraining
from fedcode_jax.devices import tree_bytes
from fedcode_jax.errors import check_name
from fedcode_jax.targets import GPU, TPU


class StepPrice(NamedTuple):
    """What local training takes, in seconds.

    Attributes:
      launch: of a step, however many clients are side by side.
      client: of a step, for each of them.
      exchange: of the moment at which slots that have finished take the next clients.
    """

    launch: float
    client: float
    exchange: float


class _Machine(NamedTuple):
    """What one kind of machine takes.

    Attributes:
      turn: s, from one turn of a loop to the next.
      kernel: s, from one kernel to the next.
      bandwidth: bytes/s, that kernels as short as these reach.
    """

    turn: float
    kernel: float
    bandwidth: float


_MACHINES = {
    # An H100: the condition of a loop is read by the host.
    GPU: _Machine(turn=10e-6, kernel=3e-6, bandwidth=2e12),
    # A TPU v5e: loops run on the device. By its compiler's account a step takes 2.5 times the
    # memory of a GPU's, since 16 channels fill 16 of 128 lanes: of 0.8e12 so much less counts.
    TPU: _Machine(turn=2e-6, kernel=1e-6, bandwidth=0.3e12),
}
_KERNELS = ("conv_", "dot_", "reduce_", "arg", "gather", "scatter", "sort", "cum", "select_and_")
"""Beginnings of the names of operations that XLA does not fuse with each other."""
_BESIDE = 4 / 3
"""Kernels of a step for each of them: XLA:GPU makes 28 of the 22 of the default CNN, and 283 of
the 204 of ResNet-20, for one client as for sixty."""
_EXCHANGE = 20
"""Kernels of an exchange: 13 for an MLP, 15 for the default CNN, 24 for ResNet-20."""

TYPICAL = StepPrice(launch=1.0, client=0.1, exchange=0.1)
"""Of a model that is not known, in steps of nobody: what ResNet-20 has on an H100, about."""


def step_price(
    training: LocalTraining, weights: Any, sample_shape: Sequence[int], target: str
) -> StepPrice:
    """What a step of local training takes on a GPU or TPU.

    A step launches as many kernels for one client as for many, and each client has its own
    values to move: small models wait for launches, where more clients side by side are free, and
    large ones for memory. The kernels are counted, and the bytes that go in and out of them, in the
    gradient of one client's batch, as traced; nothing is compiled or run.

    Args:
      training: what a client does, the model as it is lowered.
      weights: the variables of the model, or their shapes.
      sample_shape: of one sample, without the batch.
      target: gpu or tpu.

    Returns:
      The price. It serves to compare plans, not to tell the time.

    Raises:
      ConfigError: another target.

    Example:
      >>> from fedcode_jax import models
      >>> from fedcode_jax.clients import optimizer
      >>> training = LocalTraining(models.mlp(10), optimizer("sgd", 0.1), batch_size=10)
      >>> shapes = jax.eval_shape(lambda key: models.init(training.model, key, (64,)),
      ...                         jax.random.key(0))
      >>> price = step_price(training, shapes, (64,), "gpu")
      >>> price.launch > 100 * price.client
      True
    """
    check_name("target", target, _MACHINES)
    params = weights["params"]
    state = {name: value for name, value in weights.items() if name != "params"}

    def step(params: Any, state: Any, x: jax.Array, y: jax.Array, mask: jax.Array) -> Any:
        key = randomness.key(0)
        loss = lambda p: training.batch_loss(p, state, p, x, y, mask, key)  # noqa: E731
        return jax.grad(loss, has_aux=True)(params)

    batch, shape = training.batch_size, jax.ShapeDtypeStruct
    traced = jax.make_jaxpr(step)(
        params,
        state,
        shape((batch, *sample_shape), jnp.float32),
        shape((batch,), jnp.int32),
        shape((batch,), jnp.bool_),
    )
    moved = list(_moved(traced.jaxpr))
    optimizer = tree_bytes(jax.eval_shape(training.optimizer_at(1.0).init, params))
    updated = 3 * tree_bytes(weights) + 2 * optimizer  # gradients read, the rest read and written
    machine = _MACHINES[target]
    return StepPrice(
        launch=machine.turn + _BESIDE * len(moved) * machine.kernel,
        client=(sum(moved) + updated) / machine.bandwidth,
        exchange=machine.turn + _EXCHANGE * machine.kernel,
    )


def _moved(jaxpr: core.Jaxpr) -> Iterator[int]:
    """Bytes in and out of every operation that is a kernel of its own."""
    for equation in jaxpr.eqns:
        inner = list(inner_jaxprs(equation))
        if equation.primitive.name == "cond":  # of the forms for targets, that of others than CPUs
            inner = inner[-1:]
        for one in inner:
            yield from _moved(one)
        if not inner and equation.primitive.name.startswith(_KERNELS):
            values = (*equation.invars, *equation.outvars)
            yield tree_bytes([v.aval for v in values if getattr(v.aval, "shape", None)])
