"""The parts of a round, each a jitted program of its own, laid out as in a round."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import wire
from fedcode_jax.bench.timing import Timed, compiled
from fedcode_jax.clients import ClientData, LocalTraining, run_cohort
from fedcode_jax.clients.mesh import replicated
from fedcode_jax.clients.training import Weights
from fedcode_jax.simulation import EvaluationData, Program, State, evaluate

TRAINING, CODES, AGGREGATION, EVALUATION = PARTS = (
    "local training",
    "codebooks and codes",
    "aggregation",
    "evaluation",
)


class Parts(NamedTuple):
    """The parts and what they handle.

    Attributes:
      timed: by name, ready to be timed.
      moved: bytes that a call must read or write at least, of the parts that move more than
        they compute.
    """

    timed: dict[str, Timed]
    moved: dict[str, int]


class _NoTraining(LocalTraining):
    """A loss of nothing: its step is never made, and quickly compiled."""

    def loss(self, params: Weights, state: Weights, *_: Any) -> tuple[jax.Array, tuple]:
        return jnp.zeros(()), (jnp.zeros(()), state)


def parts_of(program: Program, weights: Weights, before: State, after: State) -> Parts:
    """The parts of the round between two states.

    * Local training: every client of the round trains from the initial weights.
    * Codebooks and codes: the broadcast, then each client's start from it and its upload of the
      weights it trained, spread over the devices by the same code as training is.
    * Aggregation of these uploads.
    * Evaluation: the models that ``report`` gives, the deployed one's codebook included.

    Args:
      program: the experiment.
      weights: the initial variables of the model.
      before: the state before the round.
      after: the state after it.

    Returns:
      The parts; those after training work on its results.
    """
    algorithm, plan = program.algorithm, program.plan
    everywhere = replicated(plan.devices)
    # After the first round the clients that have been contacted are those that were in it.
    (clients,) = jnp.nonzero(after.contacted)
    key = jax.random.key(program.seed)
    laid = functools.partial(jax.device_put, device=everywhere)
    exchange = jax.tree.map(jnp.asarray, (algorithm.schedule or program.schedule)(1))
    stored, first = jax.tree.map(lambda leaf: leaf[clients], (before.store, ~before.contacted))
    clients, key, exchange, stored, first, weights = laid(
        (clients, key, exchange, stored, first, weights)
    )
    keys = laid(jax.random.split(key, clients.size))
    samples = laid(program.data.sizes[clients].astype(jnp.float32))

    def train(weights: Weights, data: ClientData, clients: jax.Array, keys: jax.Array) -> Weights:
        return run_cohort(
            program.training,
            plan,
            data,
            clients,
            weights,
            jnp.zeros(clients.size),
            keys,
            begin=lambda weights, row: weights,
            finish=lambda weights, row, trained, start, key: trained,
            max_size=program.max_size,
        ).outputs

    def code(
        server: Any, clients: tuple, trained: Weights, exchange: Any, data: ClientData, key: Any
    ) -> tuple:
        broadcast, _ = algorithm.broadcast(server, exchange, key)

        def begin(shared: tuple, row: tuple) -> Weights:
            return algorithm.receive(row[0], wire.addressed(shared[0], row[1]))

        def finish(shared: tuple, row: tuple, _: Weights, start: Weights, key: jax.Array) -> tuple:
            message, kept = algorithm.upload(row[0], row[2], start, shared[1], key)
            # Summed, so that receiving is not dropped and little is written.
            return message, kept, sum(jnp.sum(leaf) for leaf in jax.tree.leaves(start))

        numbers, stored, first, keys = clients
        return run_cohort(
            _NoTraining(program.training.model, program.training.optimizer, epochs=1),
            plan,
            data._replace(sizes=jnp.zeros_like(data.sizes)),  # so no client has a step to make
            numbers,
            (broadcast, exchange),
            (stored, first, trained),
            keys,
            begin,
            finish,
            max_size=1,
        ).outputs

    def score(server: Any, store: Any, test: EvaluationData) -> list:
        models = algorithm.report(server, store)
        return [
            evaluate(program.model, model, test, plan.devices)
            for model in models
            if model is not None
        ]

    def ready(function: Any, *inputs: Any) -> Timed:
        return Timed(functools.partial(compiled(function, *inputs, plan=plan), *inputs))

    timed = {TRAINING: ready(train, weights, program.data, clients, keys)}
    trained = laid(timed[TRAINING].run())
    members = (clients, stored, first, keys)
    timed[CODES] = ready(code, before.server, members, trained, exchange, program.data, key)
    messages = laid(timed[CODES].run()[0])
    timed[AGGREGATION] = ready(algorithm.aggregate, before.server, messages, samples, exchange)
    timed[EVALUATION] = ready(score, after.server, after.store, program.test)

    message = jax.eval_shape(
        lambda server: algorithm.broadcast(server, exchange, key)[0], before.server
    )
    moved = {
        CODES: _bytes(weights) + _bytes(message) + _bytes((trained, messages)),
        AGGREGATION: _bytes(messages) + 2 * _bytes(before.server),
    }
    return Parts(timed, moved)


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def repeated_round(program: Program, state: State) -> Timed:
    """One round and its evaluation, as a run does them, the same round in every call.

    Args:
      program: the experiment.
      state: the state before the round; it is copied, since a round consumes its own.

    Returns:
      What to time.
    """
    return Timed(lambda state: program.advance(state, 1), lambda: (jax.tree.map(jnp.copy, state),))
