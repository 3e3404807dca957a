"""FedJAX on a task: its federated averaging, run by its jit backend for each client.

    python benchmarks/peers/fedjax_loop.py TASK.npz --rounds N --threads T [--check]

FedJAX fills a client's last batch up with samples of its next epoch. Here, as everywhere in this
comparison, the last batch is the smaller one: it is padded to one shape and masked in the loss,
with FedJAX's own mask. Where sizes are multiples of the batch size the two are the same.
"""

import time

from task import Task, arguments, load, report


def build(task: Task):
    """FedJAX's algorithm for a task, its first state, its clients, and a scoring function."""
    import fedjax
    import fedjax_models
    import jax
    import jax.numpy as jnp
    import numpy as np
    from fedjax.algorithms import fed_avg

    meta, rng = task.meta, np.random.default_rng(0)
    apply = fedjax_models.model(meta["model"], dropout=meta["dropout"])

    class Client(fedjax.ClientDataset):
        """A client whose every epoch is a fresh order, its last batch padded."""

        def shuffle_repeat_batch(self, hparams):
            """Batches of all epochs, in FedJAX's own padded form."""
            for _ in range(hparams.num_epochs):
                order = rng.permutation(len(self))
                shuffled = {name: a[order] for name, a in self.raw_examples.items()}
                yield from fedjax.ClientDataset(shuffled).padded_batch(
                    batch_size=hparams.batch_size
                )

    def loss(params, batch, key):
        logits = apply(params, batch["x"], key)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["y"][:, None], 1)[:, 0]
        mask = batch[fedjax.EXAMPLE_MASK_KEY]
        return jnp.sum(losses * mask) / jnp.maximum(jnp.sum(mask), 1)

    @jax.jit
    def score(params, x, y):
        logits = apply(params, x, None)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)[:, 0]
        return losses.sum(), (logits.argmax(1) == y).sum()

    algorithm = fed_avg.federated_averaging(
        jax.grad(loss),
        fedjax.optimizers.sgd(meta["learning_rate"], meta["momentum"] or None),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(batch_size=meta["batch_size"], num_epochs=meta["epochs"]),
    )
    x, y = task.normalised("train_x"), task.labels("train_y").astype(np.int32)
    clients = [Client({"x": x[own], "y": y[own]}) for own in task.clients]
    weights = {path: jnp.asarray(leaf) for path, leaf in task.weights.items()}
    return algorithm, algorithm.init(weights), clients, score


def main() -> None:
    start = time.perf_counter()
    options = arguments(__doc__)
    # Only now, when the process has its cores: JAX counts them when it is loaded.
    import fedjax
    import jax
    import numpy as np

    task = load(options.task)
    fedjax.set_for_each_client_backend("jit")
    algorithm, state, clients, score = build(task)
    key = jax.random.PRNGKey(0)
    seconds = []
    for index, cohort in enumerate(task.cohorts(options.warmup + options.rounds)):
        if index == options.warmup:
            setup = time.perf_counter() - start
        began = time.perf_counter()
        key, own = jax.random.split(key)
        keys = np.asarray(jax.random.split(own, len(cohort)))
        chosen = [(int(c), clients[c], k) for c, k in zip(cohort, keys, strict=True)]
        state, _ = algorithm.apply(state, chosen)
        jax.block_until_ready(state.params)
        seconds.append(time.perf_counter() - began)
    x, y = task.normalised("test_x"), task.labels("test_y").astype(np.int32)
    parts = [score(state.params, x[i : i + 500], y[i : i + 500]) for i in range(0, len(y), 500)]
    report(
        "fedjax",
        ("fedjax", "jax", "jaxlib", "numpy"),
        options,
        setup_seconds=setup,
        round_seconds=seconds,
        test_loss=sum(float(part[0]) for part in parts) / len(y),
        test_accuracy=sum(float(part[1]) for part in parts) / len(y),
    )


if __name__ == "__main__":
    main()
