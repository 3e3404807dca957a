"""Whether an experiment has room on its devices, asked before compiling it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from fedcode_jax import randomness, schedules, wire
from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients.device_memory import (
    client_bytes,
    largest_value,
    sample_bytes,
    waiting_bytes,
)
from fedcode_jax.clients.training import Weights
from fedcode_jax.devices import free_bytes, tree_bytes
from fedcode_jax.simulation.program import Program
from fedcode_jax.simulation.state import initial_state
from fedcode_jax.targets import Machine

_ROOM = 0.8
"""Share of a device's free memory that a plan may fill by the estimate."""
_EVALUATION = 0.2
"""Share of it that a batch of test samples may fill."""
_TEST_BATCH = 500
"""Test samples in a batch, if they fit: more gain nothing."""


def resident_bytes(program: Program, weights: Weights) -> int:
    """An estimate of what lies on a device all the time, apart from clients in training.

    The data, the server's state, a device's share of the test set, of what clients keep, and
    of the round's uploads, each as large as the weights.

    Args:
      program: the experiment.
      weights: the variables of the model, or their shapes.

    Returns:
      Bytes.
    """
    devices, clients = program.plan.devices, program.data.sizes.shape[0]
    state = jax.eval_shape(lambda w: initial_state(program.algorithm, w, clients), weights)
    kept = tree_bytes((state.store, state.known))
    if clients % devices == 0:
        kept //= devices
    uploads = -(-program.cohort // devices) * tree_bytes(weights)
    test = tree_bytes(program.test) // devices
    return tree_bytes((program.data, state.server)) + kept + test + uploads


def clients_that_fit(program: Program, weights: Weights) -> int:
    """How many clients one device can train side by side, by the estimates; at least 1."""
    free = free_bytes(program.machine)
    if free is None:
        return program.cohort
    room = _ROOM * free - resident_bytes(program, weights)
    one = client_bytes(program.training, weights, program.data.x.shape[1:])
    carried = carried_bytes(program.algorithm, weights)
    one += counting_bytes(program.algorithm, weights)
    if program.plan.layout == "packed":
        own = -(-program.cohort // program.plan.devices)
        waiting = waiting_bytes(program.training, weights, program.max_size) + carried
        room -= own * waiting
    return max(1, int(room // (one + carried)))


def carried_bytes(algorithm: Algorithm, weights: Weights) -> int:
    """What the objective and the upload of one client are given beside its weights, in bytes.

    Args:
      algorithm: the algorithm.
      weights: the variables of the model, or their shapes.

    Returns:
      Bytes; 0 where nothing is carried.

    Example:
      >>> from fedcode_jax.algorithms import Objective, updates
      >>> held = updates(objective=Objective(penalty=lambda params, start: 0.0))
      >>> carried_bytes(held, {"params": {"kernel": jax.numpy.zeros(10)}})
      40
    """

    def carried(weights: Weights) -> Any:
        server, store = algorithm.init(weights, 1)
        common = None if algorithm.common is None else algorithm.common(server)
        message, _ = algorithm.broadcast(server, schedules.always()(1), randomness.key(0))
        stored = jax.tree.map(lambda leaf: leaf[0], store)
        return algorithm.receive(stored, message, common).carried

    return tree_bytes(jax.eval_shape(carried, weights))


def counting_bytes(algorithm: Algorithm, weights: Weights) -> int:
    """What it takes to count the bits of a client's message given the one before, in bytes.

    Counts of every code after every other, before each of many blocks of codes: three times the
    largest array. Other codings take far less than training does.

    Args:
      algorithm: the algorithm.
      weights: the variables of the model, or their shapes.

    Returns:
      Bytes; 0 where messages are not coded given others.

    Example:
      >>> from fedcode_jax.algorithms import fedcode
      >>> shapes = {"params": {"kernel": jax.ShapeDtypeStruct((10_000, 10), jax.numpy.float32)}}
      >>> counting_bytes(fedcode(coding="fixed"), shapes)
      0
      >>> counting_bytes(fedcode(256, coding="conditional"), shapes) > 1_000_000
      True
    """
    known = jax.eval_shape(lambda w: initial_state(algorithm, w, 1).known, weights)
    if known is None:
        return 0
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), known)

    def bits(known: wire.Message) -> jax.Array:
        sections = tuple(
            dataclasses.replace(section, coding="conditional")
            if isinstance(section, wire.Coded)
            else section
            for section in known.sections
        )
        return wire.size_bits(dataclasses.replace(known, sections=sections), given=known)

    return 3 * largest_value(bits, one)


def evaluation_batch(
    model: Any, weights: Weights, sample_shape: Sequence[int], machine: Machine | None = None
) -> int:
    """How many test samples one device, at hand or of a machine, evaluates at once; at least 1."""
    free = free_bytes(machine)
    if free is None:
        return _TEST_BATCH
    fits = int(_EVALUATION * free) // sample_bytes(model, weights, sample_shape)
    return min(max(fits, 1), _TEST_BATCH)
