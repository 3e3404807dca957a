"""Times a round and its parts: local training, codebooks, aggregation, evaluation.

    python benchmarks/round.py [--repeats 10] [any option of fedcode run]

Prints one table, and writes the raw samples to benchmarks/results/.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
from recording import describe, interleaved, write

from fedcode_jax import experiment
from fedcode_jax.cli.options import Options, parse
from fedcode_jax.clients import run_cohort
from fedcode_jax.clients.plan import PRECISIONS
from fedcode_jax.config import to_dict
from fedcode_jax.simulation import evaluate, make_round


@dataclasses.dataclass(frozen=True)
class RoundOptions(Options):
    """Times a round and its parts."""

    repeats: int = 10
    """Timed calls of each part, in turns."""


def parts_of(built):
    """The jitted parts of a round, each a function of nothing."""
    program, algorithm = built.program, built.program.algorithm
    data, cohort = program.data, program.cohort
    key = jax.random.key(program.seed)
    state = program.start(built.weights)
    exchange = (algorithm.schedule or program.schedule)(1)
    clients = jnp.arange(cohort)
    keys = jax.random.split(key, cohort)
    stored = jax.tree.map(lambda leaf: leaf[:cohort], state.store)
    run_round = make_round(
        algorithm,
        program.schedule,
        program.training,
        program.plan,
        cohort=cohort,
        max_size=program.max_size,
    )
    one_round = jax.jit(lambda *inputs: run_round(*inputs)[:2])

    def train(weights, data, keys):
        return run_cohort(
            program.training,
            program.plan,
            data,
            clients,
            weights,
            jnp.zeros(cohort),
            keys,
            begin=lambda weights, row: weights,
            # Summed, so that nothing is dropped and little is written.
            finish=lambda weights, row, trained, start, key: sum(
                jnp.sum(leaf) for leaf in jax.tree.leaves(trained)
            ),
            max_size=program.max_size,
        )

    def upload(stored, trained, keys):
        one = lambda row: algorithm.upload(row[0], row[1], row[1], exchange, row[2])  # noqa: E731
        if program.plan.client_axis == "map":
            return jax.lax.map(one, (stored, trained, keys))
        return jax.vmap(one)((stored, trained, keys))

    def trained_of(leaf):
        # Every client has weights of its own, or XLA would fit one codebook for all.
        noise = jax.random.normal(key, (cohort, *leaf.shape))
        return leaf + 0.1 * jnp.std(leaf) * noise

    train, upload = jax.jit(train), jax.jit(upload)
    trained = jax.tree.map(trained_of, built.weights)
    messages, _ = upload(stored, trained, keys)
    samples = data.sizes[:cohort].astype(jnp.float32)
    aggregate = jax.jit(algorithm.aggregate)
    score = jax.jit(
        lambda server, store, test: evaluate(
            program.model, algorithm.report(server, store)[0], test
        )
    )
    return {
        "round": lambda: one_round(state, data, key),
        "local training": lambda: train(built.weights, data, keys),
        "codebooks and codes": lambda: upload(stored, trained, keys),
        "aggregation": lambda: aggregate(state.server, messages, samples, exchange),
        "evaluation": lambda: score(state.server, state.store, program.test),
    }


def main() -> None:
    options = parse(RoundOptions, "python benchmarks/round.py", sys.argv[1:])
    config = options.experiment
    built = experiment.build(config)
    with jax.default_matmul_precision(PRECISIONS[built.program.plan.precision]):
        seconds = interleaved(parts_of(built), options.repeats)
    for name, value in built.info.items():
        print(f"{name:10s} {value}")
    for name, samples in seconds.items():
        print(f"{name:20s} {describe(samples)}")
    name = f"round-{config.algorithm.name}-{config.model.name}-{jax.default_backend()}"
    result = {
        "what": "seconds of each part of a round, calls interleaved",
        "config": to_dict(config),
        "info": built.info,
        "seconds": seconds,
    }
    print(f"written to {write(name, result)}")


if __name__ == "__main__":
    main()
