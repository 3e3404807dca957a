"""Local training of fedcode_jax, a number of steps a line: see ``benchmarks/client_steps.py``.

    python benchmarks/peers/steps_ours.py MODEL BATCH

As in a round: clients one after another in a loop, the steps of each in a loop inside.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from stepping import SHAPES, answer

from fedcode_jax import models
from fedcode_jax.algorithms.base import Start
from fedcode_jax.clients import ClientData, LocalTraining, optimizer, train


def main() -> None:
    name, batch = sys.argv[1], int(sys.argv[2])
    shape, classes = SHAPES[name]
    model = models.make(name, classes)
    weights = models.init(model, jax.random.key(0), shape)
    training = LocalTraining(
        model=model,
        optimizer=optimizer("sgd", 1e-3, arguments={"momentum": 0.9}),
        epochs=1,
        batch_size=batch,
    )
    rng = np.random.default_rng(0)
    most = 64
    data = ClientData.from_arrays(
        rng.normal(size=(8 * batch, *shape)).astype(np.float32),
        rng.integers(classes, size=8 * batch),
        np.zeros(shape[2], np.float32),
        np.ones(shape[2], np.float32),
        (np.arange(most * batch) % (8 * batch),),
    )

    @jax.jit
    def run(weights: dict, data: ClientData, sizes: jax.Array, keys: jax.Array) -> jax.Array:
        def client(own: tuple) -> jax.Array:
            size, key = own
            mine = data._replace(sizes=size[None])
            start = Start(weights, None)
            done = train(training, "map", start, mine, jnp.int32(0), key, max_size=most * batch)
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(done.weights))

        return jax.lax.map(client, (sizes, keys))

    keys = jax.random.split(jax.random.key(1), 1)

    def steps(count: int) -> None:
        sizes = jnp.full((1,), count * batch, jnp.int32)
        jax.block_until_ready(run(weights, data, sizes, keys))

    answer(steps, models.count_parameters(weights))


if __name__ == "__main__":
    main()
