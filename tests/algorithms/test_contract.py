"""What every algorithm of the registry must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounds import (
    CLIENTS,
    common_of,
    exchange,
    moved,
    one_round,
    received,
    seen,
    weights,
)

from fedcode_jax import algorithms, schedules, wire
from fedcode_jax.schedules import Exchange


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def test_a_round_keeps_structure_and_traces_for_any_exchange(algorithm):
    server, store = algorithm.init(weights(), CLIENTS)
    for sends in [(True, True), (False, False), (True, False), (False, True)]:
        ran = one_round(algorithm, server, store, exchange(*sends), True)
        check_round(algorithm, server, store, *ran)


def check_round(algorithm, server, store, message, uploads, starts, new_server, new_store):
    assert shapes(server) == shapes(new_server)
    assert shapes(store) == shapes(new_store)
    start = jax.tree.map(lambda x: x[0], starts)
    assert shapes(seen(algorithm, start)) == shapes(weights())
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(new_server))
    sizes = jax.vmap(wire.size_bits)(uploads)
    for i in range(CLIENTS):
        one = jax.tree.map(lambda x, i=i: x[i], uploads)
        entropy_coded = any(getattr(s, "coding", "fixed") != "fixed" for s in one.sections)
        difference = 8 * len(wire.encode(one)) - int(sizes[i])
        assert abs(difference) <= (64 if entropy_coded else 0)


def test_a_first_contact_starts_from_the_server_whatever_the_round(algorithm):
    server, store = algorithm.init(weights(), CLIENTS)
    key = jax.random.key(0)
    quiet, _ = algorithm.broadcast(server, exchange(False, False), key)
    full, _ = algorithm.broadcast(server, exchange(True, True), key)
    stored = jax.tree.map(lambda x: x[0], store)
    common = common_of(algorithm, server)
    first = received(algorithm, stored, quiet, common, first=True)
    expected = received(algorithm, stored, full, common)
    jax.tree.map(np.testing.assert_array_equal, first, expected)


def test_what_a_client_receives_can_be_computed_from_the_bytes_alone(algorithm):
    server, store = algorithm.init(weights(), CLIENTS)
    *_, store = one_round(algorithm, server, store, exchange(True, True), True)
    server, _ = algorithm.init(moved(weights()), CLIENTS)
    stored = jax.tree.map(lambda x: x[1], store)
    message, _ = algorithm.broadcast(server, exchange(True, True), jax.random.key(0))
    common = common_of(algorithm, server)
    from_bytes = wire.decode(wire.encode(message))
    jax.tree.map(
        np.testing.assert_array_equal,
        algorithm.receive(stored, message, common),
        algorithm.receive(stored, from_bytes, common),
    )


def test_report_has_a_leading_axis_and_deployed_is_what_a_client_receives(algorithm):
    server, store = algorithm.init(weights(), CLIENTS)
    reported, deployed = algorithm.report(server, store)
    models = {leaf.shape[0] for leaf in jax.tree.leaves(reported)}
    assert models in ({1}, {CLIENTS})
    if deployed is not None and algorithm.objective.view is None:  # it is trained as it is used
        message, _ = algorithm.broadcast(server, exchange(True, True), jax.random.key(0))
        stored = jax.tree.map(lambda x: x[0], store)
        start = algorithm.receive(stored, message, common_of(algorithm, server)).weights
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), deployed, start)


def of_kinds(message, kinds):
    return wire.Message(jnp.asarray(kinds, jnp.int32), message.sections)


@pytest.mark.parametrize("sends", [(True, True), (False, False)])
def test_a_client_of_which_nothing_arrived_is_as_one_that_was_not_there(algorithm, sends):
    server, store = algorithm.init(weights(), CLIENTS)
    sends = exchange(*sends)
    _, uploads, _, _, _ = one_round(algorithm, server, store, sends, True)
    samples = jnp.array([1.0, 2.0, 5.0])
    aggregate = jax.jit(algorithm.aggregate)
    for lost in range(CLIENTS):
        kinds = np.where(np.arange(CLIENTS) == lost, wire.Kind.NOTHING, uploads.kind)
        found = aggregate(server, of_kinds(uploads, kinds), samples, sends)
        rest = np.delete(np.arange(CLIENTS), lost)
        without = jax.tree.map(lambda x, rest=rest: x[rest], uploads)
        expected = aggregate(server, without, samples[rest], sends)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
        # It can fail: with the client there the server is another one, if anything was sent.
        whole = aggregate(server, uploads, samples, sends)
        pairs = zip(jax.tree.leaves(whole), jax.tree.leaves(found), strict=True)
        if sends.clients_send_weights and (uploads.kind == wire.Kind.WEIGHTS).all():
            assert any(not np.allclose(a, b, atol=1e-6) for a, b in pairs)


@pytest.mark.parametrize("sends", [(True, True), (False, False)])
def test_where_nothing_arrived_the_server_stays_as_it_is(algorithm, sends):
    server, store = algorithm.init(weights(), CLIENTS)
    sends = exchange(*sends)
    _, uploads, _, _, _ = one_round(algorithm, server, store, sends, True)
    nothing = of_kinds(uploads, [wire.Kind.NOTHING] * CLIENTS)
    same = jax.jit(algorithm.aggregate)(server, nothing, jnp.array([1.0, 2.0, 5.0]), sends)
    jax.tree.map(np.testing.assert_array_equal, same, server)


def test_weights_alone_count_where_some_sent_codebooks(algorithm):
    server, store = algorithm.init(weights(), CLIENTS)
    sends = exchange(True, True)
    _, uploads, _, _, _ = one_round(algorithm, server, store, sends, True)
    samples, aggregate = jnp.array([1.0, 2.0, 5.0]), jax.jit(algorithm.aggregate)
    mixed, fewer = (
        aggregate(server, of_kinds(uploads, [other, *np.asarray(uploads.kind[1:])]), samples, sends)
        for other in (wire.Kind.CODEBOOK, wire.Kind.NOTHING)
    )
    jax.tree.map(np.testing.assert_array_equal, mixed, fewer)


def test_schedules_that_algorithms_bring():
    brought = {
        name: [bool(flag) for t in (1, 2, 3) for flag in factory().schedule(t)]
        for name, factory in algorithms.registry.items()
        if factory().schedule is not None
    }
    assert brought == {
        "fedavg": [True] * 6,
        "fedbat": [True] * 6,
        "fedbif": [True] * 6,
        "fedcompress": [True] * 6,
        "feddyn": [True] * 6,
        "fedpm": [True] * 6,
        "fedpm_mrc": [True] * 6,
        "lbgm": [True] * 6,
        "scaffold": [True] * 6,
        "weight_clustering": [True] * 6,
        "local_only": [False] * 6,
        "fedavg_every": [True, False, False, False, False, False],
    }
    assert isinstance(schedules.periodic()(1), Exchange)
