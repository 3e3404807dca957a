"""The parts of a round, each a jitted program of its own, laid out as in a round."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import randomness, wire
from fedcode_jax.algorithms import Algorithm, Start, Work
from fedcode_jax.bench.timing import Timed, compiled
from fedcode_jax.clients import ClientData, LocalTraining, dealt, run_cohort
from fedcode_jax.clients.batches import num_steps
from fedcode_jax.clients.training import Weights
from fedcode_jax.devices import replicated, tree_bytes
from fedcode_jax.schedules import Exchange
from fedcode_jax.simulation import EvaluationData, Program, Score, State, evaluate_each

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

    def batch_loss(
        self, params: Weights, state: Weights, *_: Any, **__: Any
    ) -> tuple[jax.Array, tuple]:
        return jnp.zeros(()), (jnp.zeros(()), state)


def parts_of(program: Program, weights: Weights, before: State, after: State) -> Parts:
    """The parts of the round between two states.

    * Local training: every client of the round trains from what the first of them receives, under
      the algorithm's objective.
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
    algorithm, everywhere = program.algorithm, replicated(program.plan.devices)
    # After the first round the clients that have been contacted are those that were in it.
    (clients,) = jnp.nonzero(after.contacted)
    epochs, batch_size = program.training.epochs, program.training.batch_size
    steps = num_steps(program.data.sizes[clients], epochs, batch_size)
    clients = clients[dealt(program.plan, steps)]
    key = randomness.key(program.settings.seed)
    rows = jax.tree.map(lambda leaf: leaf[clients], (before.store, ~before.contacted))
    exchange = jax.tree.map(jnp.asarray, (algorithm.schedule or program.settings.schedule)(1))
    samples = program.data.sizes[clients].astype(jnp.float32)
    keys = jax.random.split(key, clients.size)

    def laid(tree: Any) -> Any:
        return jax.device_put(tree, everywhere)

    clients, key, keys, rows, exchange, samples = laid(
        (clients, key, keys, rows, exchange, samples)
    )

    def ready(function: Callable, *inputs: Any) -> Timed:
        return Timed(functools.partial(compiled(function, *inputs, plan=program.plan), *inputs))

    server = before.server
    stored = jax.tree.map(lambda leaf: leaf[0], rows[0])
    start = laid(jax.jit(functools.partial(_start, algorithm))(server, stored, exchange, key))
    train = ready(_train(program), start, program.data, clients, keys)
    trained = laid(train.run())
    members = (clients, (*rows, trained), keys)
    code = ready(_code(program), server, members, exchange, program.data, key)
    messages = laid(code.run()[0])
    timed = {
        TRAINING: train,
        CODES: code,
        AGGREGATION: ready(algorithm.aggregate, server, messages, samples, exchange),
        EVALUATION: ready(score_of(program), after.server, after.store, program.test),
    }
    broadcast, _ = jax.eval_shape(algorithm.broadcast, server, exchange, key)
    moved = {
        CODES: tree_bytes(weights) + tree_bytes(broadcast) + tree_bytes((trained, messages)),
        AGGREGATION: tree_bytes(messages) + 2 * tree_bytes(server),
    }
    return Parts(timed, moved)


def _start(
    algorithm: Algorithm, server: Any, stored: Any, exchange: Exchange, key: jax.Array
) -> Start:
    """What a client starts from that takes part for the first time."""
    common = None if algorithm.common is None else algorithm.common(server)
    message, _ = algorithm.broadcast(server, exchange, key)
    down = wire.addressed(message, jnp.array(True)) if algorithm.common is None else message
    return algorithm.receive(stored, down, common)


def _train(program: Program) -> Callable[..., Weights]:
    """(start, data, clients, keys) -> the trained weights of every client."""

    def train(start: Start, data: ClientData, clients: jax.Array, keys: jax.Array) -> Weights:
        return run_cohort(
            program.training,
            program.plan,
            data,
            clients,
            start,
            jnp.zeros(clients.size),
            keys,
            begin=lambda start, row: (start, jnp.ones((), bool)),
            finish=lambda start, row, work, key: work.trained,
            max_size=program.max_size,
            objective=program.algorithm.objective,
            learning_rate=program.settings.learning_rate,
        ).outputs

    return train


def _code(program: Program) -> Callable[..., tuple]:
    """(server, members, exchange, data, key) -> the messages and what clients keep.

    A member is its number, (what it keeps, whether it is contacted for the first time, its
    trained weights), and a key.
    """
    algorithm, training = program.algorithm, program.training

    def begin(shared: tuple, row: tuple) -> tuple[Start, jax.Array]:
        (broadcast, common, _), (stored, first, _) = shared, row
        down = wire.addressed(broadcast, first) if algorithm.common is None else broadcast
        return algorithm.receive(stored, down, common), jnp.ones((), bool)

    def finish(shared: tuple, row: tuple, work: Work, key: jax.Array) -> tuple:
        (*_, exchange), (stored, _, trained) = shared, row
        message, kept = algorithm.upload(stored, work._replace(trained=trained), exchange, key)
        # Summed, so that receiving is not dropped and little is written.
        return message, kept, sum(jnp.sum(leaf) for leaf in jax.tree.leaves(work.start))

    def code(server: Any, members: tuple, exchange: Any, data: ClientData, key: jax.Array) -> tuple:
        common = None if algorithm.common is None else algorithm.common(server)
        broadcast, _ = algorithm.broadcast(server, exchange, key)
        clients, rows, keys = members
        return run_cohort(
            _NoTraining(training.model, training.optimizer, epochs=1),
            program.plan,
            data._replace(sizes=jnp.zeros_like(data.sizes)),  # so no client has a step to make
            clients,
            (broadcast, common, exchange),
            rows,
            keys,
            begin,
            finish,
            max_size=1,
        ).outputs

    return code


def score_of(program: Program) -> Callable[..., list[Score]]:
    """(server, store, test) -> the scores of the models that are reported."""

    def score(server: Any, store: Any, test: EvaluationData) -> list[Score]:
        models = [m for m in program.algorithm.report(server, store) if m is not None]
        return evaluate_each(
            program.model,
            models,
            test,
            program.plan.devices,
            loss=program.training.loss,
            metrics=program.metrics,
        )

    return score


def repeated_round(program: Program, state: State) -> Timed:
    """One round and its evaluation, as a run does them, the same round in every call.

    Args:
      program: the experiment.
      state: the state before the round; it is copied, since a round consumes its own.

    Returns:
      What to time.
    """
    return Timed(lambda state: program.advance(state, 1), lambda: (jax.tree.map(jnp.copy, state),))
