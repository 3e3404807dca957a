"""The rules of FedCode's rounds, each on numbers small enough to work by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import algorithms, wire
from fedcode_jax.algorithms import Start, Work
from fedcode_jax.algorithms.fedcode import CodedClient
from fedcode_jax.errors import ConfigError
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Coded, Dense, Kind, Message

KEY = jax.random.key(0)
SAMPLES = jnp.float32([3, 1])
WEIGHTS = Exchange(jnp.array(True), jnp.array(True))
CODEBOOK = Exchange(jnp.array(False), jnp.array(False))


def received_by(algorithm, own, message):
    return algorithm.receive(own, message, None).weights


def worked(trained):
    return Work(Start(trained), trained, jnp.int32(1), jnp.float32(0.1), jnp.float32(0))


def stored_client(algorithm, centers, codes, bias):
    _, store = algorithm.init({"kernel": jnp.zeros(len(codes)), "bias": jnp.zeros(len(bias))}, 1)
    own = jax.tree.map(lambda x: x[0], store)
    return dataclasses.replace(
        own, parts=(Coded(jnp.float32(centers), jnp.uint8(codes)), jnp.float32(bias))
    )


def test_codebook_downlink_snaps_the_clients_own_weights():
    algorithm = algorithms.fedcode(num_clusters=2)
    own = stored_client(algorithm, [0.0, 10.0], [1, 0, 1], [7.0])
    sections = (Coded(jnp.float32([1.0, 9.0]), jnp.uint8([0, 0, 0])), Dense(jnp.float32([-1.0])))
    received = received_by(algorithm, own, Message(jnp.int32(Kind.CODEBOOK), sections))
    assert received["kernel"].tolist() == [9.0, 1.0, 9.0]  # never the codes of the broadcast
    assert received["bias"].tolist() == [7.0]
    received = received_by(algorithm, own, Message(jnp.int32(Kind.WEIGHTS), sections))
    assert received["kernel"].tolist() == [1.0, 1.0, 1.0]
    assert received["bias"].tolist() == [-1.0]
    received = received_by(algorithm, own, Message(jnp.int32(Kind.NOTHING), sections))
    assert received["kernel"].tolist() == [10.0, 0.0, 10.0]


def uploads(kind):
    """Two clients, K = 2, three coded values and one dense value."""
    coded = Coded(jnp.float32([[0.0, 1.0], [2.0, 4.0]]), jnp.uint8([[0, 1, 1], [0, 0, 1]]))
    return Message(jnp.int32([kind] * 2), (coded, Dense(jnp.float32([[1.0], [5.0]]))))


OWN = {"kernel": jnp.float32([-3.0, 1.6, 3.5]), "bias": jnp.float32([8.0])}


def test_weights_round_is_the_mean_weighted_by_samples():
    algorithm = algorithms.fedcode(num_clusters=2)
    server, _ = algorithm.init({"kernel": jnp.zeros(3), "bias": jnp.zeros(1)}, 3)
    server = algorithm.aggregate(server, uploads(Kind.WEIGHTS), SAMPLES, WEIGHTS)
    np.testing.assert_allclose(server.weights["kernel"], [0.5, 1.25, 1.75])  # (3 a + b) / 4
    np.testing.assert_allclose(server.weights["bias"], [2.0])
    message, _ = algorithm.broadcast(server, WEIGHTS, KEY)
    np.testing.assert_allclose(message.sections[0].centers, [0.5, 1.5])
    np.testing.assert_allclose(message.sections[1].values, [2.0])


def test_codebook_round_snaps_the_servers_own_weights_to_the_union():
    algorithm = algorithms.fedcode(num_clusters=2)
    server, _ = algorithm.init(OWN, 3)
    new = algorithm.aggregate(server, uploads(Kind.CODEBOOK), SAMPLES, CODEBOOK).weights
    assert new["kernel"].tolist() == [0.0, 2.0, 4.0]  # union {0, 1, 2, 4}; samples do not count
    assert new["bias"].tolist() == [8.0]


def test_rank_mean_snaps_to_the_mean_of_centers_of_equal_rank():
    algorithm = algorithms.fedcode(num_clusters=2, merge="rank_mean")
    server, _ = algorithm.init(OWN, 3)
    new = algorithm.aggregate(server, uploads(Kind.CODEBOOK), SAMPLES, CODEBOOK).weights
    assert new["kernel"].tolist() == [1.0, 1.0, 2.5]  # {(0 + 2) / 2, (1 + 4) / 2}


def test_a_client_keeps_what_it_sent_and_its_dense_values():
    algorithm = algorithms.fedcode(num_clusters=4)
    weights = {"kernel": jnp.float32([0.0, 0.1, 5.0, 5.1, 9.0, 12.0]), "bias": jnp.float32([2.5])}
    _, store = algorithm.init(weights, 1)
    own = jax.tree.map(lambda x: x[0], store)
    message, kept = algorithm.upload(own, worked(weights), CODEBOOK, KEY)
    assert int(message.kind) == Kind.CODEBOOK
    np.testing.assert_allclose(kept.parts[0].centers, [0.05, 5.05, 9.0, 12.0], rtol=1e-6)
    assert kept.parts[0].codes.tolist() == [0, 0, 1, 1, 2, 3]
    assert kept.parts[1].tolist() == [2.5]
    np.testing.assert_array_equal(kept.parts[0].centers, message.sections[0].centers)


def test_everything_codes_the_whole_state_in_one_codebook():
    algorithm = algorithms.fedcode(num_clusters=4, groups="everything")
    weights = {
        "params": {"conv": {"kernel": jnp.arange(5.0), "bias": jnp.ones(2)}},
        "batch_stats": {"norm": {"mean": jnp.ones(3), "var": jnp.ones(3)}},
    }
    server, _ = algorithm.init(weights, 2)
    message, _ = algorithm.broadcast(server, CODEBOOK, KEY)
    assert len(message.sections) == 1
    assert message.sections[0].codes.shape == (13,)


def test_local_groups_are_never_sent_and_stay_with_the_client():
    algorithm = algorithms.fedcode(
        num_clusters=2, groups="kernel=coded,bias+norm=dense,stats=local"
    )
    weights = {
        "params": {"kernel": jnp.arange(4.0)},
        "batch_stats": {"mean": jnp.zeros(3)},
    }
    server, store = algorithm.init(weights, 1)
    own = jax.tree.map(lambda x: x[0], store)
    trained = jax.tree.map(lambda x: x + 1, weights)
    message, own = algorithm.upload(own, worked(trained), WEIGHTS, KEY)
    assert len(message.sections) == 1
    broadcast, _ = algorithm.broadcast(server, WEIGHTS, KEY)
    assert received_by(algorithm, own, broadcast)["batch_stats"]["mean"].tolist() == [1.0, 1.0, 1.0]
    stacked = jax.tree.map(lambda x: x[None], message)
    new = algorithm.aggregate(server, stacked, jnp.ones(1), WEIGHTS).weights
    assert new["batch_stats"]["mean"].tolist() == [0.0, 0.0, 0.0]


def test_half_floats_halve_the_dense_bytes():
    weights = {"kernel": jnp.arange(8.0), "bias": jnp.float32(np.linspace(0, 1, 100))}
    sizes = []
    for policy in ("dense", "dense16"):
        algorithm = algorithms.fedcode(2, groups=f"kernel=coded,bias+norm+stats={policy}")
        server, _ = algorithm.init(weights, 1)
        message, _ = algorithm.broadcast(server, WEIGHTS, KEY)
        sizes.append(len(wire.encode(message)))
    assert sizes[0] - sizes[1] == 200


def test_the_store_holds_codes_not_floats():
    _, store = algorithms.fedcode(64).init({"kernel": jnp.zeros(1000)}, 7)
    assert isinstance(store, CodedClient)
    assert store.parts[0].codes.dtype == jnp.uint8
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(store)) == 7 * (1000 + 4 * 64)


@pytest.mark.parametrize("num_clusters", [0, -1, 65537, True])
def test_bad_numbers_of_clusters_are_named(num_clusters):
    with pytest.raises(ConfigError, match=r"algorithm\.num_clusters"):
        algorithms.fedcode(num_clusters)


def test_skip_sends_nothing_and_changes_nothing_in_codebook_rounds():
    algorithm = algorithms.skip(num_clusters=2)
    server, _ = algorithm.init(OWN, 3)
    new = algorithm.aggregate(server, uploads(Kind.NOTHING), SAMPLES, CODEBOOK).weights
    assert new["kernel"].tolist() == server.weights["kernel"].tolist()
    own = stored_client(algorithm, [0.0, 10.0], [1, 0, 1], [7.0])
    message, _ = algorithm.broadcast(server, CODEBOOK, KEY)
    assert wire.encode(message) == b""
    assert received_by(algorithm, own, message)["kernel"].tolist() == [10.0, 0.0, 10.0]
    same = algorithm.aggregate(server, uploads(Kind.WEIGHTS), SAMPLES, WEIGHTS).weights
    np.testing.assert_allclose(same["kernel"], [0.5, 1.25, 1.75])


def test_more_clients_than_codes_can_tell_apart_merge_their_codebooks():
    rng = np.random.default_rng(0)
    clients, K, n = 1100, 64, 50  # 70,400 centers
    algorithm = algorithms.fedcode(K)
    server, _ = algorithm.init({"kernel": jnp.float32(rng.normal(size=n))}, 1)
    centers = np.sort(rng.normal(size=(clients, K)).astype(np.float32), axis=1)
    coded = Coded(jnp.asarray(centers), jnp.zeros((clients, n), jnp.uint8))
    uploads = Message(jnp.full(clients, Kind.CODEBOOK, jnp.int32), (coded,))
    after = jax.jit(algorithm.aggregate)(server, uploads, jnp.ones(clients), CODEBOOK)
    own, union = np.asarray(server.weights["kernel"], np.float64), np.sort(centers.ravel())
    nearest = union[np.argmin(np.abs(own[:, None] - union), axis=1)]
    np.testing.assert_array_equal(after.weights["kernel"], nearest)


def test_many_clients_are_averaged_in_parts():
    rng = np.random.default_rng(1)
    clients, K, n = 2500, 4, 30
    algorithm = algorithms.fedcode(K)
    server, _ = algorithm.init({"kernel": jnp.zeros(n)}, 1)
    centers = np.sort(rng.normal(size=(clients, K)).astype(np.float32), axis=1)
    codes = rng.integers(0, K, (clients, n)).astype(np.uint8)
    samples = rng.integers(0, 9, clients)
    uploads = Message(
        jnp.full(clients, Kind.WEIGHTS, jnp.int32), (Coded(jnp.asarray(centers), codes),)
    )
    after = jax.jit(algorithm.aggregate)(server, uploads, jnp.float32(samples), WEIGHTS)
    values = np.take_along_axis(centers.astype(np.float64), codes.astype(int), axis=1)
    np.testing.assert_allclose(after.weights["kernel"], samples @ values / samples.sum(), atol=1e-6)
