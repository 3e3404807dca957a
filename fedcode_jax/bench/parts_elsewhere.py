"""The parts of an experiment, lowered for a machine that is not here: shapes are all they need."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import randomness
from fedcode_jax.algorithms import Start, Work
from fedcode_jax.bench.flops import training_flops, work_of
from fedcode_jax.bench.parts import score_of
from fedcode_jax.clients import ClientData, train
from fedcode_jax.clients.occupancy import occupancy, sampled_cohorts
from fedcode_jax.clients.plan import PRECISIONS
from fedcode_jax.clients.training import Weights
from fedcode_jax.devices import replicated
from fedcode_jax.schedules import Exchange
from fedcode_jax.simulation import EvaluationData, Program, State
from fedcode_jax.targets import Machine

STEP, UPLOAD, UPLOADS, EVALUATION, ROUND = (
    "a local step",
    "an upload",
    "uploads side by side",
    "an evaluation",
    "a round",
)


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an experiment.

    Attributes:
      lower: lowers it.
      flop: floating-point operations of its products, as ``flops`` counts them.
    """

    lower: Callable[[], Any]
    flop: int


def parts_elsewhere(program: Program, weights: Weights) -> dict[str, Part]:
    """The parts, by name, the smaller ones first.

    * A local step of the clients that are side by side on a device, their shuffling included.
    * An upload: what an algorithm makes of one client's trained weights; where messages have
      codebooks, their fit and the codes. Then those of the clients that are side by side.
    * An evaluation of the models that are reported, the deployed one's codebook included.
    * A round with its evaluation, as a run has it.

    Args:
      program: the experiment, made for a machine that is not here.
      weights: the initial variables of the model, or their shapes.

    Returns:
      The parts. Nothing is lowered yet.
    """
    machine = _machine_of(program)
    state: State = jax.eval_shape(program.first_state, weights)
    alone = replicated(1, machine=machine)
    step, evaluation = _flop_of_step(program, weights), _flop_of_evaluation(program, state)
    chunk = program.plan.chunk

    def lowered(function: Callable, inputs: tuple, precision: str) -> Callable[[], Any]:
        def lower() -> Any:
            with jax.default_matmul_precision(PRECISIONS[precision]):
                return machine.lower(jax.jit(function), inputs, alone)

        return lower

    parts = {STEP: Part(lowered(*_step(program, state), program.plan.precision), step * chunk)}
    parts[UPLOAD] = Part(lowered(*_uploads(program, state, None), "float32"), 0)
    if chunk > 1:
        parts[UPLOADS] = Part(lowered(*_uploads(program, state, chunk), "float32"), 0)
    parts[EVALUATION] = Part(lambda: _evaluation(program, state), evaluation)
    whole = int(step * steps_of_round(program)["needed"]) + evaluation
    parts[ROUND] = Part(lambda: program.lowered(state, 1), whole)
    return parts


def _machine_of(program: Program) -> Machine:
    assert program.machine is not None, "a program for the machine at hand is measured there"
    return program.machine


def _shape(leaf: Any, lead: int | None = None) -> jax.ShapeDtypeStruct:
    shape = tuple(leaf.shape) if lead is None else (lead, *leaf.shape)
    return jax.ShapeDtypeStruct(shape, leaf.dtype)


def _many(tree: Any, lead: int | None) -> Any:
    """Shapes with a leading axis, or without."""
    return jax.tree.map(lambda leaf: _shape(leaf, lead), tree)


def _row(tree: Any) -> Any:
    """Shapes of what one client has, from that of all clients."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)


def _start(program: Program, state: State) -> Start:
    """The shapes of what a client starts from."""
    algorithm = program.algorithm

    def start(server: Any, stored: Any, exchange: Exchange) -> Start:
        common = None if algorithm.common is None else algorithm.common(server)
        message, _ = algorithm.broadcast(server, exchange, randomness.key(0))
        return algorithm.receive(stored, message, common)

    return jax.eval_shape(start, state.server, _row(state.store), _exchange())


def _exchange() -> Exchange:
    flag: Any = jax.ShapeDtypeStruct((), jnp.bool_)
    return Exchange(flag, flag)


def _keys(lead: int | None) -> jax.ShapeDtypeStruct:
    return _shape(jax.eval_shape(lambda: randomness.key(0)), lead)


def _step(program: Program, state: State) -> tuple[Callable, tuple]:
    """One step of clients side by side, or of one: the function, and the shapes of its inputs."""
    axis: Any = "map" if program.plan.client_axis == "map" else "vmap"
    side = None if axis == "map" else program.plan.chunk
    training = dataclasses.replace(program.training, epochs=1)
    batch = training.batch_size
    # As many samples as a batch, known to the compiler, which then drops the loop of one turn.
    sizes: Any = np.full(program.data.sizes.shape, batch, np.int32)
    clients: Any = np.int32(0) if side is None else np.arange(side, dtype=np.int32) % len(sizes)

    def step(start: Start, data: ClientData, keys: jax.Array, round: Any, rate: Any) -> Weights:
        return train(
            training,
            axis,
            start,
            data._replace(sizes=sizes),
            clients,
            keys,
            training.norm_is_fixed(round),
            rate,
            max_size=batch,
            objective=program.algorithm.objective,
        ).weights

    scalars = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), jnp.float32)
    start = _many(_start(program, state), side)
    return step, (start, program.data, _keys(side), *scalars)


def _uploads(program: Program, state: State, side: int | None) -> tuple[Callable, tuple]:
    """The uploads of clients side by side, or of one: the function, the shapes of its inputs."""

    def upload(stored: Any, start: Start, trained: Weights, key: jax.Array, exchange: Any) -> Any:
        work = Work(start, trained, jnp.int32(1), jnp.float32(1), jnp.float32(0))
        return program.algorithm.upload(stored, work, exchange, key)

    function = upload if side is None else jax.vmap(upload, (0, 0, 0, 0, None))
    start = _start(program, state)
    own = _many((_row(state.store), start, start.weights), side)
    return function, (*own, _keys(side), _exchange())


def _evaluation(program: Program, state: State) -> Any:
    machine = _machine_of(program)
    everywhere = replicated(program.plan.devices, machine=machine)
    laid = program.shardings(state)
    shardings = (
        jax.tree.map(lambda _: everywhere, state.server),
        laid.store,
        EvaluationData.shardings(program.plan.devices, machine),
    )
    with jax.default_matmul_precision("float32"):
        inputs = (state.server, state.store, program.test)
        return machine.lower(jax.jit(score_of(program)), inputs, shardings)


def _flop_of_step(program: Program, weights: Weights) -> int:
    return training_flops(program.training, program.model, weights, program.data.x).training


def _flop_of_evaluation(program: Program, state: State) -> int:
    """Of all models that are reported, on the whole test set with its padding."""
    reported = jax.eval_shape(program.algorithm.report, state.server, state.store)
    models = [one for one in reported if one is not None]
    count = sum(jax.tree.leaves(one)[0].shape[0] for one in models)
    batches, *batch = program.test.x.shape
    x = jax.ShapeDtypeStruct(tuple(batch), jnp.float32)

    def apply(weights: Weights, x: jax.Array) -> jax.Array:
        return program.model.apply(weights, x, train=False)

    return 2 * work_of(apply, _row(models[0]), x).forward * batches * count


def steps_of_round(program: Program) -> dict[str, float]:
    """Local steps of a round, means over cohorts drawn at random.

    Args:
      program: the experiment.

    Returns:
      ``needed`` by all clients together, and ``in_turn``: those that follow each other on the
      busiest device.
    """
    training, plan = program.training, program.plan
    cohorts = sampled_cohorts(
        program.sizes, program.cohort, epochs=training.epochs, batch_size=training.batch_size
    )
    found = occupancy(cohorts, plan.chunk, plan.layout, plan.devices)
    return {
        "needed": float(np.mean(cohorts.sum(axis=1))),
        "in_turn": float(np.mean(found.sequential)),
    }
