"""A whole FedCode run against an independent implementation in NumPy.

The second implementation is written from the paper's description and shares with the
package only random numbers (which clients take part, the order of samples). Each round it
starts from the package's state before the round, so that an error shows where it arises.
Codebooks are held against the exact optimum rather than against another near-optimal fit.
"""

import jax
import kmeans1d
import numpy as np
import pytest

from fedcode_jax import experiment
from fedcode_jax.clients.batches import shuffles
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.simulation.opening import sample_cohort

ROUNDS, K, CLIENTS, COHORT, EPOCHS, BATCH, RATE = 11, 16, 6, 4, 2, 32, 0.05
START, F1, F2 = 2, 5, 2

CONFIG = replace(
    ExperimentConfig(),
    {
        "seed": 3,
        "clients_per_round": COHORT,
        "partition.name": "dirichlet",
        "partition.num_clients": CLIENTS,
        "model.name": "mlp",
        "local.optimizer": "sgd",
        "local.learning_rate": RATE,
        "local.epochs": EPOCHS,
        "local.batch_size": BATCH,
        "algorithm.num_clusters": K,
    },
)

# The coded and the dense variables, in the order in which the package lays out a group.
LEAVES = [("dense1", "bias"), ("dense1", "kernel"), ("head", "bias"), ("head", "kernel")]


def coded(name, groups):
    return groups == "everything" or name[1] == "kernel"


def flat(weights, groups, part):
    return np.concatenate(
        [weights[n].ravel() for n in LEAVES if coded(n, groups) == (part == "coded")] or [[]]
    )


def unflat(like, groups, coded_values, dense_values):
    result, position = {}, {True: 0, False: 0}
    for name in LEAVES:
        is_coded = coded(name, groups)
        values = coded_values if is_coded else dense_values
        size = like[name].size
        start = position[is_coded]
        result[name] = values[start : start + size].reshape(like[name].shape)
        position[is_coded] += size
    return result


def nearest(centers, values):
    """Every value's nearest center, by brute force."""
    return centers[np.argmin(np.abs(values[:, None] - centers[None]), axis=1)]


def assert_rounding(differences):
    """Differences as float32 training leaves them.

    They are tiny but for a few units: where a sample meets the kink of a relu, rounding
    decides whether it counts, and its share of one step is lost or gained.
    """
    assert np.quantile(differences, 0.9) < 1e-5
    assert np.max(differences) < 2e-3


def assert_nearest(found, centers, values):
    """``found`` are centers, and none is nearer but for the rounding of ``values``."""
    assert np.isin(found, centers).all()
    assert_rounding(np.abs(found - values) - np.abs(values - nearest(centers, values)))


def assert_near_optimal(centers, values):
    exact = kmeans1d.cluster(values, K)
    optimum = sum((values - np.array(exact.centroids)[exact.clusters]) ** 2)
    assert sum((values - nearest(centers, values)) ** 2) <= 1.001 * optimum + 1e-12


def train(weights, x, y, orders):
    """SGD on a perceptron with one hidden layer, gradients by hand, in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    for order in orders:
        for first in range(0, len(y), BATCH):
            rows = order[first : first + BATCH]
            inputs, labels = x[rows], y[rows]
            before = inputs @ w["dense1", "kernel"] + w["dense1", "bias"]
            hidden = np.maximum(before, 0)
            logits = hidden @ w["head", "kernel"] + w["head", "bias"]
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(rows)), labels] -= 1
            p /= len(rows)
            back = (p @ w["head", "kernel"].T) * (before > 0)
            w["head", "kernel"] -= RATE * hidden.T @ p
            w["head", "bias"] -= RATE * p.sum(axis=0)
            w["dense1", "kernel"] -= RATE * inputs.T @ back
            w["dense1", "bias"] -= RATE * back.sum(axis=0)
    return w


def plain(tree):
    params = jax.tree.map(np.asarray, tree)["params"]
    return {name: params[name[0]][name[1]] for name in LEAVES}


def snapshot(state):
    """The package's state, as NumPy arrays (its own are donated)."""
    server = plain(state.server.weights)
    parts = [jax.tree.map(np.array, part) for part in state.store.parts]
    stored = next(part for part in parts if hasattr(part, "codes"))
    dense = [part for part in parts if not hasattr(part, "codes")]
    return server, stored, dense[0] if dense else None, np.array(state.contacted)


def message_bytes(num_coded, num_dense, weights):
    """The length of a message, from FORMAT.md."""
    if not weights:
        return 9 + 3 + 4 * K
    dense = 5 + 4 * num_dense if num_dense else 0
    return 9 + 7 + 4 * K + -(-num_coded * 4 // 8) + dense


@pytest.mark.parametrize("groups", ["kernels", "everything"])
def test_every_round_is_what_the_paper_says(groups):
    built = experiment.build(replace(CONFIG, {"algorithm.groups": groups}))
    data, program = built.dataset, built.program
    state = program.start(built.weights)
    x = ((data.train_x - data.mean) / data.std).reshape(data.num_train, -1).astype(np.float64)
    root = jax.random.key(CONFIG.seed)
    seen = set()

    for t in range(1, ROUNDS + 1):
        server, stored, dense, contacted = snapshot(state)
        report = jax.tree.map(np.array, program.algorithm.report(state.server, state.store)[1])
        state, output = program.advance(state, 1)
        new_server, new_stored, new_dense, _ = snapshot(state)
        key = lambda purpose, t=t: jax.random.fold_in(jax.random.fold_in(root, purpose), t)  # noqa: E731
        cohort = np.asarray(sample_cohort(key(0), CLIENTS, COHORT))
        down, up = t <= START or t % F1 == 0, t < START or t % F2 == 0

        # 1. Broadcast: what a client would receive is the K-valued form of the server's w.
        own, own_dense = flat(server, groups, "coded"), flat(server, groups, "dense")
        broadcast = flat(plain(jax.tree.map(lambda w: w[0], report)), groups, "coded")
        c_s = np.unique(broadcast)
        assert len(c_s) <= K
        assert_near_optimal(c_s, own)
        np.testing.assert_array_equal(broadcast, nearest(c_s, own))

        uploads, sizes, expected_down = [], [], 0
        for client in cohort:
            # 2. Receive.
            first = not contacted[client]
            if down or first:
                start = unflat(server, groups, broadcast, own_dense)
                expected_down += message_bytes(own.size, own_dense.size, weights=True)
            else:
                kept = stored.centers[client][stored.codes[client]]
                dense_kept = dense[client] if dense is not None else np.empty(0)
                start = unflat(server, groups, nearest(c_s, kept), dense_kept)
                expected_down += message_bytes(own.size, own_dense.size, weights=False)
            seen.add((bool(down), bool(up), bool(first)))
            # 3. Local training.
            rows = built.partition.clients[client]
            client_key = jax.random.fold_in(jax.random.fold_in(key(2), int(client)), 0)
            orders = shuffles(jax.random.fold_in(client_key, 0), len(rows), len(rows), EPOCHS)
            trained = train(start, x[rows], data.train_y[rows], np.asarray(orders))
            # 4. Upload: the client keeps its trained weights, clustered.
            values = flat(trained, groups, "coded")
            c_i = new_stored.centers[client]
            kept = c_i[new_stored.codes[client]]
            assert_near_optimal(c_i, values)
            assert_nearest(kept, c_i, values)
            dense_values = flat(trained, groups, "dense")
            if dense is not None:
                assert_rounding(np.abs(new_dense[client] - dense_values))
            dense_sent = dense_values if dense is None else new_dense[client]
            uploads.append((c_i, kept, dense_sent))
            sizes.append(len(rows))
        absent = np.setdiff1d(np.arange(CLIENTS), cohort)
        np.testing.assert_array_equal(new_stored.codes[absent], stored.codes[absent])

        # 5. Aggregate.
        shares = np.array(sizes) / sum(sizes)
        found, found_dense = flat(new_server, groups, "coded"), flat(new_server, groups, "dense")
        if up:
            mean = sum(s * kept for s, (_, kept, _) in zip(shares, uploads, strict=True))
            np.testing.assert_allclose(found, mean, atol=1e-6)
            mean = sum(s * values for s, (_, _, values) in zip(shares, uploads, strict=True))
            np.testing.assert_allclose(found_dense, mean, atol=1e-6)
        else:
            union = np.concatenate([c_i for c_i, _, _ in uploads])
            np.testing.assert_array_equal(found, nearest(np.sort(union), own))
            np.testing.assert_array_equal(found_dense, own_dense)

        # Bytes, both ways, by the specification.
        metrics = output.metrics
        expected_up = COHORT * message_bytes(own.size, own_dense.size, up)
        assert int(metrics.uplink_bits.sum()) == 8 * expected_up
        assert int(metrics.downlink_bits.sum()) == 8 * expected_down

        # 6. Evaluate both models.
        test_x = (data.test_x - data.mean) / data.std
        for weights, score in (
            (new_server, output.score),
            (
                plain(
                    jax.tree.map(
                        lambda w: w[0], program.algorithm.report(state.server, state.store)[1]
                    )
                ),
                output.deployed,
            ),
        ):
            hidden = np.maximum(
                test_x.reshape(len(test_x), -1) @ weights["dense1", "kernel"]
                + weights["dense1", "bias"],
                0,
            )
            logits = hidden @ weights["head", "kernel"] + weights["head", "bias"]
            accuracy = np.mean(logits.argmax(axis=1) == data.test_y)
            assert float(score.accuracy) == pytest.approx(accuracy, abs=1e-6)

    # Every kind of round was met, a newcomer in a round without weights included.
    assert {(True, True, False), (True, False, False), (False, True, False)} <= seen
    assert (False, False, False) in seen
    assert any(first and not down for down, _, first in seen)
