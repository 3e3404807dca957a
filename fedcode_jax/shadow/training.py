"""Local training in NumPy: a plain loop over batches, from where the program began."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.algorithms import At, Objective
from fedcode_jax.clients import ClientData, LocalTraining
from fedcode_jax.clients.batches import shuffles
from fedcode_jax.clients.stepping import begun, updated
from fedcode_jax.shadow.interpreter import traced
from fedcode_jax.shadow.optimizers import Optimizer

_STEP = 1e-6
"""Of a central difference, along a direction of length 1."""


class Batch(NamedTuple):
    """A batch of its true size.

    Attributes:
      x: [b, ...features], augmented, in raw units.
      y: i32[b].
      key: of dropout, and of the objective's view.
      at: where training is.
    """

    x: np.ndarray
    y: np.ndarray
    key: jax.Array
    at: At


class Training:
    """What a client does, to be done in NumPy."""

    def __init__(
        self,
        training: LocalTraining,
        objective: Objective,
        data: ClientData,
        optimizer: Optimizer | None,
    ) -> None:
        """Of a program.

        Args:
          training: what a client does, its model natively lowered.
          objective: how the algorithm shapes it.
          data: on the host.
          optimizer: in NumPy; None to trace the program's own.
        """
        self.training, self.objective, self.data = training, objective, data
        self.optimizer = optimizer
        self._augment = None if training.augment is None else jax.jit(training.augment)
        self._traced: dict[Any, Callable[..., Any]] = {}

    def batches(self, client: int, key: jax.Array) -> list[Batch]:
        """Every batch that a client trains on in a round, by its key of the round.

        The orders and what augmentation draws are the program's: they are no arithmetic.
        """
        training, data = self.training, self.data
        B, first, size = training.batch_size, data.offsets[client], int(data.sizes[client])
        own = np.asarray(data.order)[first : first + size]
        draws = training.draws(key)
        orders = np.asarray(shuffles(jax.random.fold_in(draws, 0), size, size, training.epochs))
        augmenting, dropping = jax.random.fold_in(draws, 1), jax.random.fold_in(key, 2)
        found: list[Batch] = []
        steps = jnp.int32(training.epochs * -(-size // B))
        for order in orders:
            for begin in range(0, size, B):
                samples, step = own[order[begin : begin + B]], len(found)
                x = np.asarray(data.x)[samples]
                if self._augment is not None:
                    whole = np.zeros((B, *x.shape[1:]), x.dtype)
                    whole[: len(x)] = x
                    x = np.asarray(self._augment(jax.random.fold_in(augmenting, step), whole))
                    x = x[: len(samples)]
                at = At(jnp.int32(step), steps)
                key_of_step = jax.random.fold_in(dropping, step)
                found.append(Batch(x, np.asarray(data.y)[samples], key_of_step, at))
        return found

    def trained(
        self,
        start: Any,
        carried: Any,
        batches: list[Batch],
        rate: float,
        key: jax.Array,
        fixed: bool | None,
        precision: Any,
    ) -> tuple[Any, float]:
        """The variables after all batches, and the mean loss over all their samples."""
        params, state = _parted(_of(start, precision))
        memory: Any = None
        if self.optimizer is not None:
            memory = self.optimizer.init(params)
        else:
            memory = begun(self.training.optimizer_at(float(rate)), _of(params), key)
        total = seen = 0.0
        for batch in batches:
            inputs = self._inputs(state, carried, batch, precision)
            (value, (loss, state)), gradient = self._value_and_gradient(
                params, inputs, fixed, precision
            )
            grads, at = gradient, batch.at
            if self.objective.gradient is not None:
                grads = self._call(self.objective.gradient, precision, grads, params, carried, at)
            if self.optimizer is not None:
                params, memory = self.optimizer.step(grads, memory, params, rate)
            else:
                step = functools.partial(self._moved, fixed)
                given = (grads, memory, params, precision(rate), value, gradient, inputs)
                params, memory = self._call(step, precision, *given, tag=("step", fixed))
            if self.objective.project is not None:
                params = self._call(self.objective.project, precision, params, carried, at)
            total += float(loss) * len(batch.y)
            seen += len(batch.y)
        return {"params": params, **state}, total / max(seen, 1)

    def slopes(
        self, start: Any, carried: Any, batch: Batch, direction: Any, fixed: bool | None
    ) -> tuple[float, float]:
        """How the loss of a batch changes along a direction of length 1, both in float64.

        Returns:
          By the traced gradient; and by a central difference of the loss itself, which knows
          nothing of derivatives.
        """
        params, state = _parted(_of(start, np.float64))
        inputs = self._inputs(state, carried, batch, np.float64)
        _, gradient = self._value_and_gradient(params, inputs, fixed, np.float64)
        parts = jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction)
        moved = (
            jax.tree.map(lambda p, d, sign=sign: p + sign * _STEP * d, params, direction)
            for sign in (1, -1)
        )
        function = functools.partial(self._loss, fixed)
        up, down = (
            self._call(function, np.float64, each, *inputs, tag=("loss", fixed)) for each in moved
        )
        return sum(jax.tree.leaves(parts)), float(up[0] - down[0]) / (2 * _STEP)

    def _inputs(self, state: Any, carried: Any, batch: Batch, precision: Any) -> tuple:
        mean, std = (_of(each, precision) for each in (self.data.mean, self.data.std))
        x = (batch.x.astype(precision) - mean) / std
        here = batch.at if any(self.objective) else None
        return state, carried, x, batch.y, np.ones(len(batch.y), bool), batch.key, here

    def _value_and_gradient(
        self, params: Any, inputs: tuple, fixed: bool | None, precision: Any
    ) -> Any:
        function = jax.value_and_grad(functools.partial(self._loss, fixed), has_aux=True)
        return self._call(function, precision, params, *inputs, tag=("gradient", fixed))

    def _loss(self, fixed: bool | None, params: Any, *inputs: Any) -> Any:
        kept = None if fixed is None else jnp.bool_(fixed)
        return self.training.batch_loss(params, *inputs, objective=self.objective, fixed=kept)

    def _moved(
        self, fixed: Any, grads: Any, memory: Any, params: Any, rate: Any, value: Any, *rest: Any
    ) -> tuple[Any, Any]:
        """A step of the program's own optimiser."""
        gradient, inputs = rest

        def elsewhere(params: Any) -> jax.Array:
            return self._loss(fixed, params, *inputs)[0]

        optimizer = self.training.optimizer_at(rate)
        change, memory = updated(
            *(optimizer, grads, memory, params), value=value, grad=gradient, value_fn=elsewhere
        )
        return jax.tree.map(lambda p, u: p + u, params, change), memory

    def _call(self, function: Any, precision: Any, *inputs: Any, tag: Any = None) -> Any:
        """A JAX function in NumPy, traced once for each shape of its inputs."""
        shapes = [(np.shape(leaf), str(leaf.dtype)) for leaf in jax.tree.leaves(inputs)]
        key = (tag or function, str(shapes))
        if key not in self._traced:
            self._traced[key] = traced(function, *_of(inputs))
        return self._traced[key](precision, *inputs)


def _parted(weights: Any) -> tuple[Any, Any]:
    return weights["params"], {name: each for name, each in weights.items() if name != "params"}


def _of(tree: Any, precision: Any = np.float32) -> Any:
    """The floats of a tree in a precision."""

    def one(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        array = np.asarray(leaf)
        return array.astype(precision) if jnp.issubdtype(array.dtype, jnp.floating) else array

    return jax.tree.map(one, tree)
