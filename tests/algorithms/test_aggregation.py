"""Rules of aggregation in the algorithms of the registry."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounds import CLIENTS, NAMES, SAMPLES, exchange, one_round, weights

from fedcode_jax import aggregation, algorithms, wire
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.compress import topk

TAKES = [n for n in NAMES if "aggregation" in inspect.signature(algorithms.registry[n]).parameters]


def test_what_does_not_average_the_clients_values_takes_no_rule():
    assert sorted(set(NAMES) - set(TAKES)) == ["fedbif", "fedpm", "fedpm_mrc", "local_only"]


SLOW = {"fedcode", "skip", "weight_clustering", "fedcompress"}  # their fits compile for long


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in TAKES],
    scope="module",
)
def by_median(request):
    return algorithms.registry[request.param](aggregation=aggregation.median())


def test_a_round_by_the_median_keeps_structure_and_bounds_a_hostile_client(by_median):
    server, store = by_median.init(weights(), CLIENTS)
    sends = exchange(True, True)
    _, uploads, _, after, _ = one_round(by_median, server, store, sends, True)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert shapes(after) == shapes(server)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(after))
    if by_median.heard is not None:  # what is read of an upload is not what was sent
        return
    # Two of three that are alike outvote the third, whatever it sends.
    aggregate = jax.jit(by_median.aggregate)
    found, alone = (
        aggregate(server, jax.tree.map(lambda x, o=o: x[jnp.array(o)], uploads), SAMPLES, sends)
        for o in ([0, 0, 2], [0, 0, 0])
    )
    pairs = zip(jax.tree.leaves(found.weights), jax.tree.leaves(alone.weights), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_where_nothing_arrived_the_server_stays_as_it_is(by_median):
    server, store = by_median.init(weights(), CLIENTS)
    sends = exchange(True, True)
    _, uploads, _, _, _ = one_round(by_median, server, store, sends, True)
    nothing = wire.Message(jnp.full(CLIENTS, wire.Kind.NOTHING), uploads.sections)
    same = jax.jit(by_median.aggregate)(server, nothing, jnp.zeros(CLIENTS), sends)
    jax.tree.map(np.testing.assert_array_equal, same, server)


@pytest.mark.parametrize(
    "name",
    [
        "fedavg",
        "scaffold",
        "lbgm",
        *(pytest.param(n, marks=pytest.mark.slow) for n in sorted(SLOW)),
    ],
)
def test_the_rule_of_the_mean_is_the_mean(name):
    """What rules are given, and where it goes: by the mean all comes to what it is without."""
    found = []
    for rule in (None, aggregation.mean()):
        algorithm = algorithms.registry[name](aggregation=rule)
        server, store = algorithm.init(weights(), CLIENTS)
        found.append(one_round(algorithm, server, store, exchange(True, True), True)[3].weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *found)


def test_a_rule_is_given_whole_changes_and_a_key_of_its_round():
    """Compressed and float groups at once, as changes of what the server holds."""

    def sum_and_noise(moves, num_samples, key):
        assert [values.shape for values in moves] == [(CLIENTS, 115), (CLIENTS, 10)]
        noise = jax.random.uniform(key)
        return tuple(jnp.sum(values, axis=0) + noise for values in moves)

    rule = Aggregation(sum_and_noise, random=True)
    algorithm = algorithms.fedavg(topk(0.2), aggregation=rule)
    server, store = algorithm.init(weights(), CLIENTS)
    noises = []
    for seed in (0, 1, 1):
        key = jax.random.key(seed)
        _, uploads, _, after, _ = one_round(
            algorithm, server, store, exchange(True, True), True, key
        )
        sent = np.asarray(jax.vmap(wire.values)(uploads.sections[1]))
        held = np.concatenate([np.zeros(5), np.ones(5)])
        stats = after.weights["batch_stats"]["norm"]
        found = np.concatenate([stats["mean"], stats["var"]])
        noise = found - held - (sent - held).sum(axis=0)
        np.testing.assert_allclose(noise, noise[0], atol=1e-5)
        noises.append(noise[0])
    assert noises[1] == noises[2] != noises[0]
    assert 0 < min(noises) < max(noises) < 1
