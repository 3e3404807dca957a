"""The laws of the contract, for every algorithm of the registry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounds import (
    CLIENTS,
    NAMES,
    SAMPLES,
    VARIANTS,
    common_of,
    common_with_own,
    exchange,
    made,
    moved,
    one_round,
    weights,
    worked,
)

from fedcode_jax import wire
from fedcode_jax.algorithms import Start, check_contract
from fedcode_jax.errors import ConfigError
from fedcode_jax.simulation import initial_state
from fedcode_jax.wire import Kind

SENDS = exchange(True, True)
COMMON = [case for case in NAMES + list(VARIANTS) if made(case).common is not None]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def through_bytes(message):
    return wire.decode(wire.encode(jax.device_get(message)))


def rounds(algorithm, count):
    """Of each round the common before, the broadcast and the server after it."""
    server, store = algorithm.init(weights(), CLIENTS)
    broadcast = jax.jit(algorithm.broadcast)
    for number in range(count):
        key = jax.random.key(number)
        before = common_of(algorithm, server)
        message, after = broadcast(server, SENDS, key)
        yield before, message, after, jax.tree.map(lambda x: x[0], store)
        *_, server, store = one_round(algorithm, server, store, SENDS, False, key)


def test_there_are_algorithms_with_a_common():
    assert {"fedavg, down", "fedavg, both by codebooks", "fedavg, down and kept"} <= set(COMMON)


@pytest.mark.parametrize("case", COMMON)
def test_a_broadcast_brings_who_is_up_to_date_to_the_new_common_bitwise(case):
    algorithm, seen = made(case), []
    receive = jax.jit(algorithm.receive)
    for before, message, after, stored in rounds(algorithm, 4):
        expected = common_with_own(algorithm, after, stored)
        for arrived in (message, through_bytes(message)):
            assert_same(receive(stored, arrived, before).weights, expected)
            assert_same(algorithm.receive(stored, arrived, before).weights, expected)
        seen.append(expected)
    kernels = [common["params"]["dense"]["kernel"] for common in seen]
    assert np.any(kernels[0] != kernels[-1])


@pytest.mark.parametrize("case", COMMON)
def test_the_whole_brings_anybody_to_the_new_common_bitwise(case):
    algorithm = made(case)
    elsewhere = moved(weights())
    for _, _, after, stored in rounds(algorithm, 3):
        whole = algorithm.whole(after)
        for arrived in (whole, through_bytes(whole)):
            found = algorithm.receive(stored, arrived, elsewhere).weights
            assert_same(found, common_with_own(algorithm, after, stored))


@pytest.mark.parametrize("sends", [(True, True), (False, False)])
def test_what_did_not_arrive_cannot_matter_even_if_it_is_not_a_number(algorithm, sends):
    sends = exchange(*sends)
    server, store = algorithm.init(weights(), CLIENTS)
    _, uploads, _, _, _ = one_round(algorithm, server, store, sends, True)
    poisoned = jax.tree.map(
        lambda x: x.at[1].set(jnp.nan) if jnp.issubdtype(x.dtype, jnp.floating) else x,
        uploads.sections,
    )
    kinds = uploads.kind.at[1].set(Kind.NOTHING)
    aggregate = jax.jit(algorithm.aggregate)
    clean = aggregate(server, wire.Message(kinds, uploads.sections), SAMPLES, sends)
    found = aggregate(server, wire.Message(kinds, poisoned), SAMPLES, sends)
    assert_same(found, clean)


def test_an_upload_that_is_taken_back_leaves_all_for_the_next_one(algorithm):
    if algorithm.lost is None:
        return
    server, store = algorithm.init(weights(), CLIENTS)
    stored = jax.tree.map(lambda x: x[0], store)
    common = common_of(algorithm, server)
    message, server = algorithm.broadcast(server, SENDS, jax.random.key(0))
    start = algorithm.receive(stored, message, common)
    if algorithm_keeps_no_residual(stored, start, algorithm):
        return
    sent = {}
    for taken_back in (False, True):
        first, after = algorithm.upload(stored, worked(start), SENDS, jax.random.key(1))
        before = algorithm.lost(after, first) if taken_back else after
        still = worked(start)._replace(trained=start.weights)  # nothing new
        second, _ = algorithm.upload(before, still, SENDS, jax.random.key(1))
        sent[taken_back] = values_of(second)
    expected = values_of(first)
    # All of it goes with the next one, as near as the residual is kept.
    np.testing.assert_allclose(sent[True], expected, atol=2e-2)
    assert np.abs(sent[False] - expected).max() > 2e-2


def algorithm_keeps_no_residual(stored, start, algorithm):
    """Whether what it keeps of an upload, a control variate, is then as it was before."""
    message, after = algorithm.upload(stored, worked(start), SENDS, jax.random.key(1))
    before = algorithm.lost(after, message)
    pairs = list(zip(*map(jax.tree.leaves, (stored, after, before)), strict=True))
    assert any(np.abs(kept - old).max() > 1e-4 for old, kept, _ in pairs)
    return all(np.allclose(old, again, atol=1e-6) for old, _, again in pairs)


def values_of(message):
    """What the first section stands for, which holds all params."""
    size = sum(leaf.size for leaf in jax.tree.leaves(weights()["params"]))
    return np.asarray(wire.values(message.sections[0], size))


def test_parts_that_do_not_go_together_are_refused():
    algorithm = made("fedavg, down")
    with pytest.raises(ConfigError, match="common and whole need each other"):
        check_contract(algorithm._replace(whole=None), weights())

    def conditionally(server, exchange, key):
        message, server = algorithm.broadcast(server, exchange, key)
        codes = wire.Coded(jnp.zeros(2), jnp.zeros(9, jnp.uint8), "conditional")
        return wire.Message(message.kind, (*message.sections, codes)), server

    with pytest.raises(ConfigError, match="cannot be coded given what each client holds"):
        initial_state(algorithm._replace(broadcast=conditionally), weights(), CLIENTS)


def test_every_algorithm_keeps_to_its_contract(algorithm):
    check_contract(algorithm, weights())


def _stored_without_axis(weights, num_clients):
    server, _ = made("fedavg").init(weights, num_clients)
    return server, jnp.zeros(())


def _sections_in_a_list(server, exchange, key):
    message, server = made("fedavg").broadcast(server, exchange, key)
    return wire.Message(message.kind, list(message.sections)), server


WRONG = {
    "receive: gives dict": {"receive": lambda stored, message, common: weights()},
    "init: its store has an array of shape": {"init": _stored_without_axis},
    "broadcast: its message has sections of type list": {"broadcast": _sections_in_a_list},
    "report: weights without their leading axis": {
        "report": lambda server, store: (server.weights, None)
    },
    "aggregate: the server's state must have": {
        "aggregate": lambda server, messages, samples, exchange: server.weights
    },
    "receive: weights must have": {
        "receive": lambda stored, message, common: Start({"params": jnp.zeros(3)})
    },
}


@pytest.mark.parametrize("complaint", WRONG)
def test_what_does_not_keep_to_the_contract_is_named(complaint):
    algorithm = made("fedavg")._replace(**WRONG[complaint])
    with pytest.raises(ConfigError, match=f"algorithm.{complaint}"):
        check_contract(algorithm, weights())
