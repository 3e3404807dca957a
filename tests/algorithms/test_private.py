"""What clients and the server do for privacy: norms, noise, and what one client can move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounds import CLIENTS, exchange

from fedcode_jax import aggregation, algorithms, wire
from fedcode_jax.algorithms import Start, Work
from fedcode_jax.compress import error_feedback, qsgd, sign, topk
from fedcode_jax.errors import ConfigError

CLIP = 0.5
SENDS = exchange(True, True)


def params(size=40):
    return {"params": {"dense": {"kernel": jnp.zeros((size, 3)), "bias": jnp.zeros(3)}}}


def private(clip=CLIP, noise=0.0, rule=None, size=40, **settings):
    rule = aggregation.gaussian(clip) if rule is None else rule
    algorithm = algorithms.fedavg(aggregation=rule, **settings)
    return algorithms.private(algorithm, clip, noise), params(size)


def trained(weights, size, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + size * jnp.float32(rng.normal(size=x.shape)), weights)


def uploads(algorithm, weights, sizes, seed=0):
    """Those of clients that moved by as much as these numbers, and the server before them."""
    server, store = algorithm.init(weights, len(sizes))
    ends = [trained(weights, size, seed + i) for i, size in enumerate(sizes)]
    ends = jax.tree.map(lambda *each: jnp.stack(each), *ends)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(len(sizes)))
    work = lambda end: Work(Start(weights), end, jnp.int32(1), jnp.float32(0.1), jnp.float32(0))  # noqa: E731
    upload = jax.jit(jax.vmap(lambda s, e, k: algorithm.upload(s, work(e), SENDS, k)))
    return server, *upload(store, ends, keys)


def flat(weights):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(weights)])


def test_a_change_is_clipped_as_a_whole_and_keeps_its_direction():
    algorithm, weights = private(groups="kernel=coded,bias=dense,norm+stats=dense")
    sizes = [1e-4, 1.0, 1e3, np.nan, np.inf]
    _, messages, _ = uploads(algorithm, weights, sizes)
    sent = np.concatenate([jax.vmap(wire.values)(part) for part in messages.sections], axis=1)
    norms = np.linalg.norm(sent, axis=1)
    assert (norms <= CLIP * (1 + 1e-6)).all()
    np.testing.assert_allclose(norms[1:3], CLIP, rtol=1e-5)
    assert not norms[3:].any()
    for i in range(3):
        change = flat(trained(weights, sizes[i], i))
        change = np.concatenate([change[3:], change[:3]])  # the bias comes before the kernel
        if i == 0:
            np.testing.assert_allclose(sent[i], change, atol=1e-9)
        np.testing.assert_allclose(sent[i] / norms[i], change / np.linalg.norm(change), atol=1e-5)


def test_what_stays_at_home_is_neither_clipped_nor_made_noisy():
    algorithm, weights = private(noise=1.0, groups="*/bias=local,params")
    _, messages, stored = uploads(algorithm, weights, [100.0])
    np.testing.assert_array_equal(
        stored.kept[0][0], trained(weights, 100.0, 0)["params"]["dense"]["bias"]
    )
    assert len(messages.sections) == 1


@pytest.mark.parametrize(
    "up", [None, error_feedback(topk(0.1)), qsgd(2), sign()], ids=["none", "topk", "qsgd", "sign"]
)
def test_one_client_moves_the_sum_by_no_more_than_the_clip_whatever_was_compressed(up):
    algorithm, weights = private(up=up)
    server, messages, _ = uploads(algorithm, weights, [0.01, 1.0, 100.0, 1e4])
    aggregate = jax.jit(algorithm.aggregate)
    whole = aggregate(server, messages, jnp.ones(4), SENDS)
    for left in range(4):
        kinds = jnp.where(jnp.arange(4) == left, wire.Kind.NOTHING, messages.kind)
        without = aggregate(
            server, wire.Message(kinds, messages.sections), jnp.ones(4).at[left].set(0), SENDS
        )
        moved = 4 * np.linalg.norm(flat(whole.weights) - flat(without.weights))
        assert 0 < moved <= CLIP * (1 + 1e-4)


def test_samples_do_not_weigh_and_the_denominator_is_the_cohort():
    moves = (jnp.array([[1.0], [2.0], [6.0]]),)
    plain = aggregation.gaussian()
    assert not plain.random
    assert plain.combine(moves, jnp.array([1.0, 50.0, 7.0]), None)[0].tolist() == [3.0]
    assert plain.combine(moves, jnp.array([1.0, 0.0, 0.0]), None)[0] * 3 == 1.0


def test_central_noise_has_its_scale_in_every_round_and_is_another_one_each():
    size, z = 20_000, 1.5
    algorithm, weights = private(rule=aggregation.gaussian(CLIP, z), size=size)
    server, messages, _ = uploads(algorithm, weights, [0.0] * CLIENTS)
    gone = wire.Message(jnp.full(CLIENTS, wire.Kind.NOTHING), messages.sections)
    found = []
    for seed, sent in ((0, messages), (0, messages), (1, messages), (2, gone)):
        _, during = algorithm.broadcast(server, SENDS, jax.random.key(seed))
        samples = jnp.where(sent.kind == wire.Kind.NOTHING, 0.0, 1.0)
        found.append(flat(jax.jit(algorithm.aggregate)(during, sent, samples, SENDS).weights))
    for noise in found:
        assert np.std(noise) == pytest.approx(z * CLIP / CLIENTS, rel=0.03)
        assert abs(np.mean(noise)) < 4 * z * CLIP / CLIENTS / np.sqrt(noise.size)
    np.testing.assert_array_equal(found[0], found[1])
    assert abs(np.corrcoef(found)[0, 2:]).max() < 0.03


@pytest.mark.slow
def test_clustered_weights_have_central_noise_too():
    size, z = 3000, 1.5
    rule = aggregation.gaussian(CLIP, z)
    algorithm = algorithms.private(algorithms.weight_clustering(4, aggregation=rule), CLIP)
    weights = params(size)
    server, messages, _ = uploads(algorithm, weights, [100.0] * CLIENTS)
    _, during = algorithm.broadcast(server, SENDS, jax.random.key(0))
    aggregate = jax.jit(algorithm.aggregate)
    found = []
    for kind in (wire.Kind.NOTHING, wire.Kind.WEIGHTS):
        sent = wire.Message(jnp.full(CLIENTS, kind), messages.sections)
        samples = jnp.full(CLIENTS, float(kind == wire.Kind.WEIGHTS))
        found.append(flat(aggregate(during, sent, samples, SENDS).weights))
    noise, both = found
    assert np.std(noise) == pytest.approx(z * CLIP / CLIENTS, rel=0.03)
    assert 0 < np.linalg.norm(both - noise) <= CLIP * (1 + 1e-4)


def test_distributed_noise_adds_up_to_the_central_one_and_is_each_clients_own():
    size, z = 10_000, 1.5
    each = z * CLIP / np.sqrt(CLIENTS)
    algorithm, weights = private(noise=each, rule=aggregation.gaussian(), size=size)
    server, messages, _ = uploads(algorithm, weights, [0.0] * CLIENTS)
    after = algorithm.aggregate(server, messages, jnp.ones(CLIENTS), SENDS)
    assert np.std(flat(after.weights)) == pytest.approx(z * CLIP / CLIENTS, rel=0.03)
    sent = jax.vmap(wire.values)(messages.sections[0])
    np.testing.assert_allclose(np.std(sent, axis=1), each, rtol=0.03)
    assert abs(np.corrcoef(sent) - np.eye(CLIENTS)).max() < 0.03
    # One by one as under vmap: a client's noise follows from its key.
    _, store = algorithm.init(weights, CLIENTS)
    stored = jax.tree.map(lambda leaf: leaf[1], store)
    work = Work(Start(weights), weights, jnp.int32(1), jnp.float32(0.1), jnp.float32(0))
    key = jax.random.fold_in(jax.random.key(0), 1)
    alone, _ = jax.jit(lambda s, k: algorithm.upload(s, work, SENDS, k))(stored, key)
    np.testing.assert_allclose(alone.sections[0].values, sent[1], atol=1e-6)


def test_running_statistics_that_would_be_sent_are_refused():
    weights = {**params(), "batch_stats": {"norm": {"var": jnp.ones(3)}}}
    algorithm, _ = private()
    with pytest.raises(ConfigError, match=r"^privacy\.clip: .* running statistics"):
        algorithm.init(weights, 2)
    kept, _ = private(groups="kernel+bias+norm=coded,stats=local")
    assert kept.init(weights, 2)


def test_noise_without_a_clip_is_refused():
    with pytest.raises(ConfigError, match=r"^privacy\.noise_multiplier"):
        aggregation.gaussian(noise_multiplier=1.0)
