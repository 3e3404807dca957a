"""fedcode_jax's own reference: a plain Python loop over batches, one jitted gradient.

    python benchmarks/peers/reference_loop.py TASK.npz --rounds N --threads T [--check]

What the project's tests hold every execution plan against, timed: what the same work costs
in JAX without the simulator.
"""

import time

from task import arguments, load


def main() -> None:
    start = time.perf_counter()
    options = arguments(__doc__)
    # Only now, when the process has its cores: JAX counts them when it is loaded.
    import jax
    import numpy as np
    import ours_models

    from fedcode_jax.clients import ClientData, train_reference

    task = load(options.task)
    arrays, own = task.arrays, tuple(task.clients)
    stored = (arrays[name] for name in ("train_x", "train_y", "mean", "std"))
    data = ClientData.from_arrays(*stored, own)
    training, weights = ours_models.training(task, "native"), ours_models.variables(task)
    key = jax.random.key(0)
    add = jax.jit(
        lambda total, share, trained: jax.tree.map(lambda t, w: t + share * w, total, trained)
    )
    seconds = []
    for index, cohort in enumerate(task.cohorts(options.warmup + options.rounds)):
        if index == options.warmup:
            setup = time.perf_counter() - start
        began = time.perf_counter()
        keys = jax.random.split(jax.random.fold_in(key, index), len(cohort))
        samples = sum(len(own[client]) for client in cohort)
        total = jax.tree.map(np.zeros_like, weights)
        for client, client_key in zip(cohort, keys, strict=True):
            trained, _ = train_reference(training, weights, data, int(client), client_key)
            total = add(total, np.float32(len(own[client]) / samples), trained)
        weights = jax.block_until_ready(total)
        seconds.append(time.perf_counter() - began)
    server = jax.tree.map(lambda leaf: leaf[None], weights)
    ours_models.report_on(
        "reference", task, options, server, setup_seconds=setup, round_seconds=seconds
    )


if __name__ == "__main__":
    main()
