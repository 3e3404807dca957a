"""Groups that clients keep, against NumPy: never sent, each client's own, the server's as at first.

Arivazhagan et al., arXiv 1912.00818: theta_B is averaged, theta_P of each client stays with it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rounds import CLIENTS, SAMPLES, exchange, weights

from fedcode_jax import wire
from fedcode_jax.algorithms import Work, fedavg, fedcode, updates
from fedcode_jax.compress import error_feedback, topk
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind, Message

SENDS = exchange(True, True)
GROUPS = "*/norm/mean+*/dense/bias+norm=local,kernel+bias=coded,stats=dense"
KEPT = [
    ("batch_stats", "norm", "mean"),
    ("params", "dense", "bias"),
    ("params", "norm", "bias"),
    ("params", "norm", "scale"),
]
ROUNDS = [([0, 1], []), ([1, 2], [2]), ([0], []), ([2, 0], []), ([1, 2], [])]
"""Who takes part, and whose uploads of these are lost."""


def named(tree):
    """Values by path, in float64."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {tuple(key.key for key in path): np.float64(leaf) for path, leaf in paths}


def assert_close(tree, expected):
    found = named(tree)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=str(name))


def trained(tree, client):
    """What local training makes of it: by where it starts, and by whom."""
    return jax.tree.map(lambda x: 0.8 * x + 0.1 * (client + 1), tree)


def played(algorithm):
    """The server and the store after each round."""
    server, store = algorithm.init(weights(), CLIENTS)
    clients = jnp.arange(CLIENTS)

    @jax.jit
    def one_round(server, store, present, heard):
        common = None if algorithm.common is None else algorithm.common(server)
        message, server = algorithm.broadcast(server, SENDS, jax.random.key(0))

        def client(stored, number):
            start = algorithm.receive(stored, message, common)
            end = trained(start.weights, number)
            work = Work(start, end, jnp.int32(1), jnp.float32(0.1), jnp.float32(0))
            return algorithm.upload(stored, work, SENDS, jax.random.key(1))

        uploads, after = jax.vmap(client)(store, clients)
        kinds = jnp.where(heard, uploads.kind, Kind.NOTHING)

        def chosen(new, old):
            return jnp.where(present.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        store = jax.tree.map(chosen, after, store)
        samples = jnp.where(heard, SAMPLES, 0)
        received = Message(kinds, uploads.sections)
        return algorithm.aggregate(server, received, samples, SENDS), store

    for cohort, lost in ROUNDS:
        present = np.isin(np.arange(CLIENTS), cohort)
        heard = present & ~np.isin(np.arange(CLIENTS), lost)
        server, store = one_round(server, store, present, heard)
        yield server, store


def test_rounds_are_those_of_numpy():
    algorithm, samples = fedavg(groups=GROUPS), np.asarray(SAMPLES, np.float64)
    shared, own = named(weights()), [named(weights()) for _ in range(CLIENTS)]
    first = named(weights())
    moved = set()
    for (cohort, lost), (server, store) in zip(ROUNDS, played(algorithm), strict=True):
        ends = {}
        for i in cohort:
            start = {n: own[i][n] if n in KEPT else shared[n] for n in shared}
            ends[i] = {n: 0.8 * value + 0.1 * (i + 1) for n, value in start.items()}
            own[i] = {n: ends[i][n] for n in KEPT}
            moved.add(i)
        heard = [i for i in cohort if i not in lost]
        total = sum(samples[i] for i in heard)
        for n in shared.keys() - set(KEPT):
            shared[n] = sum(samples[i] * ends[i][n] for i in heard) / total
        assert_close(server.weights, shared)
        for i in range(CLIENTS):
            stored = jax.tree.map(lambda leaf, i=i: leaf[i], store)
            model = algorithm.personal(server, stored)
            assert_close(model, {n: own[i][n] if n in KEPT else shared[n] for n in shared})
    assert moved == {0, 1, 2}
    for n in KEPT:  # the server's are the first ones, and the clients' differ from each other
        np.testing.assert_array_equal(named(server.weights)[n], np.float64(first[n]))
        assert np.abs(own[0][n] - own[1][n]).max() > 0.05


@pytest.mark.parametrize("step", [optax.adamw(0.1, weight_decay=0.5), optax.sgd(0.7, momentum=0.9)])
def test_no_optimiser_moves_what_the_server_does_not_hear_of(step):
    before = named(weights())
    for server, _ in played(updates(server=step, groups=GROUPS)):
        after = named(server.weights)
        for n in KEPT:
            np.testing.assert_array_equal(after[n], before[n])
    assert (
        np.abs(after["params", "dense", "kernel"] - before["params", "dense", "kernel"]).max() > 0
    )


def without_kept(tree):
    return {
        "params": {"dense": {"kernel": tree["params"]["dense"]["kernel"]}},
        "batch_stats": {"norm": {"var": tree["batch_stats"]["norm"]["var"]}},
    }


MESSAGES = {
    "floats": {},
    "largest both ways": {"up": error_feedback(topk(0.1)), "down": topk(0.1)},
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages_are_those_of_a_model_without_what_is_kept(case):
    """Byte by byte, both ways."""
    sent = []
    for groups, tree in (
        (GROUPS, weights()),
        ("kernel+bias+norm=coded,stats=dense", without_kept(weights())),
    ):
        algorithm = updates(**MESSAGES[case], groups=groups)
        server, store = algorithm.init(tree, 1)
        moved = jax.tree.map(lambda x: 1.5 * x, server.weights)
        server = server._replace(weights=moved)
        common = None if algorithm.common is None else algorithm.common(server)
        message, server = algorithm.broadcast(server, SENDS, jax.random.key(0))
        stored = jax.tree.map(lambda leaf: leaf[0], store)
        start = algorithm.receive(stored, message, common)
        work = Work(start, trained(start.weights, 1), jnp.int32(1), jnp.float32(0), jnp.float32(0))
        upload, _ = algorithm.upload(stored, work, SENDS, jax.random.key(1))
        both = [wire.encode(jax.device_get(each)) for each in (message, upload)]
        assert [8 * len(each) for each in both] == [
            int(wire.size_bits(each)) for each in (message, upload)
        ]
        if algorithm.whole is not None:
            both.append(wire.encode(jax.device_get(algorithm.whole(server))))
        sent.append(both)
    assert sent[0] == sent[1]


def test_the_codebooks_of_fedcode_leave_out_what_is_kept():
    """Its personal models are the server's weights with each client's own values."""
    algorithm = fedcode(
        num_clusters=4, groups="*/dense/bias=local,kernel=coded,bias+norm+stats=dense"
    )
    (*_, (server, store)) = played(algorithm)
    bias = np.zeros(5)
    for cohort, _ in ROUNDS:
        bias = 0.8 * bias + 0.2 if 1 in cohort else bias  # of client 1
    found = algorithm.personal(server, jax.tree.map(lambda leaf: leaf[1], store))
    expected = named(server.weights) | {("params", "dense", "bias"): bias}
    assert_close(found, expected)
    np.testing.assert_array_equal(server.weights["params"]["dense"]["bias"], np.zeros(5))
    assert fedcode().personal is None
    assert fedavg().personal is None


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"groups": "*=local,params"}, "would keep everything.*use local_only"),
        ({"groups": "*/norm/*=coded,params"}, "stats cannot be compressed.*by their names"),
        ({"groups": "*/hed/*=local,params"}, "names no variable; the model has batch_stats/norm"),
    ],
)
def test_what_cannot_be_sent_so_is_told_when_the_model_is_known(settings, complaint):
    with pytest.raises(ConfigError, match=rf"^algorithm\.groups: .*{complaint}"):
        updates(topk(0.1), **settings).init(weights(), 1)


def test_what_keeps_nothing_is_refused():
    tree = {"params": {"dense": weights()["params"]["dense"]}}
    with pytest.raises(ConfigError, match=r"norm\+stats=local keeps nothing"):
        fedavg(groups="kernel+bias=coded,norm+stats=local").init(tree, 1)
    with pytest.raises(ConfigError, match="nothing would be compressed"):
        updates(topk(0.1), groups="*/dense/*=local,kernel+bias+norm+stats=dense")
    fedavg(groups="*/dense/*=local,kernel+bias+norm+stats=dense").init(weights(), 1)
