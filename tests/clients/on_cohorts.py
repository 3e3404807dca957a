"""Run by test_mesh.py in a process of its own: cohorts that do not fill their devices.

Prints what came back as JSON.
"""

import json

import jax

jax.config.update("jax_num_cpu_devices", 3)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from fedcode_jax import models  # noqa: E402
from fedcode_jax.algorithms import Start  # noqa: E402
from fedcode_jax.clients import ClientData, LocalTraining, Plan, run_cohort  # noqa: E402
from fedcode_jax.devices import lay, replicated  # noqa: E402

SIZES = (7, 2, 1, 0, 5, 3, 4)


def run(axis: str, chunk: int, devices: int, clients: list[int], layout: str = "sorted") -> dict:
    rng = np.random.default_rng(0)
    data = ClientData.from_arrays(
        rng.normal(size=(sum(SIZES), 3)).astype(np.float32),
        rng.integers(0, 2, sum(SIZES)),
        np.zeros(3, np.float32),
        np.ones(3, np.float32),
        tuple(np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1])),
    )
    training = LocalTraining(models.mlp(2, hidden=()), optax.sgd(0.1), epochs=1, batch_size=2)
    plan = Plan(axis, chunk, "native", devices=devices, layout=layout)
    weights = models.init(training.model, jax.random.key(0), (3,))
    data, weights = lay((data, weights), replicated(devices))

    def finish(shared, row, work, key):
        before, after = (w["params"]["head"]["kernel"] for w in (work.start.weights, work.trained))
        moved = jnp.any(before != after)
        return 10 * row, moved

    @jax.jit
    def cohort(data, weights):
        ids = jnp.array(clients)
        keys = jax.random.split(jax.random.key(1), len(clients))
        return run_cohort(
            training,
            plan,
            data,
            ids,
            weights,
            ids,
            keys,
            begin=lambda shared, row: (Start(shared), True),
            finish=finish,
            max_size=max(SIZES),
        )

    done = cohort(data, weights)
    return {
        "clients": clients,
        "sizes": [SIZES[c] for c in clients],
        "chunk": chunk,
        "layout": layout,
        "devices": devices,
        "outputs": done.outputs[0].tolist(),
        "trained": done.outputs[1].tolist(),
        "needed": int(done.needed_steps),
        "executed": int(done.executed_steps),
    }


if __name__ == "__main__":
    cases = [
        ("map", 1, 3, [0, 4, 6, 5, 1, 2, 3]),  # 7 clients in 9 places
        ("map", 1, 2, [3, 0, 1]),
        ("vmap", 2, 3, [0, 4, 6, 5, 1, 2, 3]),  # a chunk with an idle place
        ("vmap", 2, 3, [5, 0]),  # two devices with nothing to do
        ("vmap", 3, 2, [6, 5, 4, 2]),
        ("vmap", 2, 3, [0, 4, 6, 5, 1, 2, 3], "packed"),
        ("vmap", 2, 3, [5, 0], "packed"),  # a device with nobody
        ("vmap", 4, 2, [0, 3, 5, 6, 2], "packed"),  # more slots than clients of a device
    ]
    print(json.dumps([run(*case) for case in cases]))
