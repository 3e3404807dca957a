"""Clients' own models: each against counting one sample after another, in runs, and resumed."""

import itertools
import json

import jax
import numpy as np
import pytest
from scored import CLASSES, MODEL, SAMPLES, SHARES, USERS, X, Y, data_of, three_models

import fedcode_jax
from fedcode_jax import experiment
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.simulation import checkpoint, evaluate_personal

SMALL = {
    "model.name": "mlp",
    "rounds": 4,
    "eval_every": 4,
    "local.epochs": 1,
    "partition.name": "by_class",
    "partition.num_clients": 5,
}


@pytest.fixture(scope="module")
def store():
    """The models of three clients."""
    return three_models()


def scored(store, data):
    """The server holds 2, by which the kept weights are divided: so it is looked at too."""

    def personal(server, stored):
        return jax.tree.map(lambda leaf: leaf / server, stored)

    return jax.jit(lambda s, d: evaluate_personal(MODEL, personal, 2.0, s, d))(store, data)


def by_sample(store):
    """Which samples each model has right, and the losses: [models, samples]."""
    right, losses = [], []
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i] / 2, store)
        z = np.float64(MODEL.apply(one, X, train=False))
        losses.append(np.log(np.exp(z).sum(axis=1)) - z[np.arange(SAMPLES), Y])
        right.append(z.argmax(axis=1) == Y)
    return np.stack(right), np.stack(losses)


def test_a_client_s_own_distribution_has_its_class_shares(store):
    score, own = scored(store, data_of(shares=SHARES)), [[], []]
    figures = by_sample(store)
    for kind, each in enumerate(figures):
        a = [[each[i, k == Y].mean() for k in range(CLASSES - 1)] for i in range(3)]
        # the class without test samples is left out of the second client's shares
        own[kind] = [0.5 * a[0][0] + 0.5 * a[0][1], 0.5 * a[1][1] + 0.5 * a[1][2]]
    np.testing.assert_allclose(score.accuracy[:2], own[0], atol=1e-6)
    np.testing.assert_allclose(score.loss[:2], own[1], atol=1e-5)
    assert np.isnan(score.accuracy[2])  # none of its classes is tested
    np.testing.assert_allclose(score.shared_accuracy, figures[0].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(score.shared_loss, figures[1].mean(axis=1), atol=1e-5)


def test_a_client_of_one_user_is_scored_on_that_user_s_test_samples(store):
    """The second client has user 90, the place 2; the others none, the place 3."""
    score = scored(store, data_of(shares=SHARES, users=USERS, owners=np.array([3, 2, 3])))
    right, losses = by_sample(store)
    assert score.accuracy[1] == pytest.approx(right[1, USERS == 90].mean(), abs=1e-6)
    assert score.loss[1] == pytest.approx(losses[1, USERS == 90].mean(), abs=1e-5)
    without = scored(store, data_of(shares=SHARES))
    assert score.accuracy[0] == pytest.approx(float(without.accuracy[0]), abs=1e-6)
    assert score.accuracy[1] != pytest.approx(float(without.accuracy[1]), abs=1e-3)


def test_rows_that_only_fill_up_a_batch_cannot_spoil_it(store):
    data = data_of(shares=SHARES)
    *_, last = np.argwhere(~np.asarray(data.mask))
    spoilt = scored(store, data._replace(x=data.x.at[tuple(last)].set(np.nan)))
    jax.tree.map(np.testing.assert_array_equal, spoilt, scored(store, data))


def test_the_owner_of_a_client_is_its_one_user_among_those_of_the_test_set():
    train = np.array([5, 5, 8, 8, 2, 2, -1, 5])
    x = np.zeros((8, 3), np.float32)
    y = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    own = {
        **{"train_x": x, "train_y": y, "test_x": x[:4], "test_y": y[:4]},
        **{"train_user": train, "test_user": np.array([8, 2, -1, 8])},
    }
    config = replace(ExperimentConfig(), {"model.name": "mlp"})
    for rows, expected in (
        ([[0, 1, 7], [2, 3, 6], [4, 5]], [2, 1, 0]),  # 5 has no test samples; -1 is nobody
        ([[2, 3, 4], [5], [6], [0, 1]], [2, 0, 2, 2]),  # two users; one; nobody; none there
    ):
        program = experiment.build(config, dataset=own, partition=rows).program
        assert np.asarray(program.test.owners).tolist() == expected


def test_a_head_of_one_s_own_is_better_on_one_s_own_classes(tmp_path):
    """Two classes a client: fedper's clients against fedavg's one model on the same mixtures."""
    config = replace(ExperimentConfig(), {**SMALL, "out": str(tmp_path / "run")})
    fedavg = fedcode_jax.run(replace(config, {"algorithm.name": "fedavg", "out": None}))
    fedper = fedcode_jax.run(replace(config, {"algorithm.name": "fedper"}))
    last, spread = fedper.records[-1], fedper.summary["personal_accuracy"]
    assert last["personal_accuracy"] > fedavg.summary["client_accuracy"]["mean"] + 0.1
    assert last["personal_accuracy"] > last["personal_test_accuracy"] + 0.1  # others' classes
    assert last["personal_loss"] < last["personal_test_loss"]
    assert last["personal_accuracy"] == pytest.approx(spread["mean"])
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())["personal_accuracy"]
    assert np.mean(found["own"]) == pytest.approx(spread["mean"])
    assert min(found["own"]) == pytest.approx(spread["lowest"])
    assert np.mean(found["shared"]) == pytest.approx(last["personal_test_accuracy"])
    assert fedper.records[0]["personal_accuracy"] is None  # not evaluated then
    assert not any("personal" in name for name in (*fedavg.records[-1], *fedavg.summary))
    head = 10 * (64 + 1)  # of the perceptron's 64 hidden units
    less = 4 * head * 5 * 4  # bytes, clients, rounds
    for way in ("uplink", "downlink"):
        total = f"total_{way}_bytes"
        assert abs(fedavg.summary[total] - fedper.summary[total] - less) <= 5 * 4 * 16  # headers


def test_a_run_that_was_killed_goes_on_with_what_its_clients_kept(tmp_path):
    changes = {"algorithm.name": "fedper", "clients_per_round": 2, "network.loss": 0.3, "seed": 2}
    one = experiment.build(replace(ExperimentConfig(), {**SMALL, **changes}))
    program, heads = one.program, []
    state = program.start(one.weights)
    for number in range(4):
        if number == 2:
            path = checkpoint.save(tmp_path, state)
        state, output = program.advance(state, 1)
        heads.append(np.asarray(state.store.kept[0]))
    again = checkpoint.restore(path, program.start(one.weights))
    for _ in range(2):
        again, resumed = program.advance(again, 1)
    jax.tree.map(np.testing.assert_array_equal, (again, resumed), (state, output))
    assert np.abs(heads[1] - heads[3]).max() > 0
    # Of two clients a round; the others' are as they were.
    changed = [np.any(a != b, axis=1).sum() for a, b in itertools.pairwise(heads)]
    assert changed == [2, 2, 2]
