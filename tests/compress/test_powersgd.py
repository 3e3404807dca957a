"""PowerSGD: against NumPy and the best matrix of its rank, what goes as floats, its bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import compress, wire
from fedcode_jax.algorithms import Start, Work, fedavg
from fedcode_jax.compress import error_feedback, powersgd, topk
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.schedules import always
from fedcode_jax.wire import Dense, Kind, LowRank, Message
from fedcode_jax.wire.sizes import MESSAGE_HEADER_BYTES

KEY = jax.random.key(0)


def matrix(n, m, seed=0):
    return np.random.default_rng(seed).standard_t(4, (n, m)).astype(np.float32)


def of_rank(r, n, m):
    rng = np.random.default_rng(r)
    return np.float32(rng.normal(size=(n, r)) @ rng.normal(size=(r, m)))


def rounded(x):
    """The nearest float32 of 12 significant bits, ties to even."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FF + ((bits >> 12) & 1)) >> 12 << 12
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def published(M, Q):
    """Algorithm 1 of the paper at a single worker, Gram-Schmidt by the letter: P and the new Q."""
    P = np.asarray(M, np.float64) @ np.asarray(Q, np.float64)
    for k in range(P.shape[1]):
        P[:, k] /= np.linalg.norm(P[:, k])
        for later in range(k + 1, P.shape[1]):
            P[:, later] -= (P[:, k] @ P[:, later]) * P[:, k]
    P = rounded(P)
    return P, rounded(np.asarray(M, np.float64).T @ P)


def sent(compressor, memory, M, key=KEY):
    """What is read of one matrix, and the memory after it."""
    section, memory = jax.jit(compressor.compress)(memory, jnp.ravel(jnp.asarray(M)), key)
    return np.asarray(compressor.decompress(section, M.size)).reshape(M.shape), memory


def square(x):
    return float(np.sum(np.asarray(x, np.float64) ** 2))


def left_by_svd(M, r):
    return float(np.sum(np.linalg.svd(np.float64(M), compute_uv=False)[r:] ** 2))


@pytest.mark.parametrize("warm_start", [True, False])
def test_with_feedback_it_is_what_a_worker_does_in_the_paper(warm_start):
    n, m, r = 30, 20, 3
    compressor = error_feedback(powersgd(r, warm_start)).for_shape((5, 6, m))
    memory, residual, Q = compressor.init(n * m), np.zeros((n, m)), None
    for step in range(5):
        key = jax.random.key(step)
        found, memory = sent(compressor, memory, matrix(n, m, step), key)
        whole = matrix(n, m, step) + residual
        if Q is None or not warm_start:
            Q = jax.random.normal(key, (m, r))
        P, Q = published(whole, Q)
        # A factor on the edge between two of 12 bits may fall to either.
        np.testing.assert_allclose(found, P @ Q.T, atol=4e-3)
        residual = whole - P @ Q.T
        if step == 3:  # lost on the way: all of it stays, and Q goes on
            memory = compressor.undo(memory, jnp.ravel(found))
            residual = whole
        np.testing.assert_allclose(memory[0].reshape(n, m), residual, atol=1e-2)


@pytest.mark.parametrize("shape", [(40, 30), (3, 3, 5, 32), (7, 100)])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_matrices_of_no_higher_rank_are_read_as_they_are(shape, r):
    fitted = powersgd(3).for_shape(shape)
    n, m = int(np.prod(shape[:-1])), shape[-1]
    M = of_rank(r, n, m)
    section, memory = fitted.compress(fitted.init(M.size), jnp.ravel(M), KEY)
    assert section.left.shape == (n, 3)
    assert section.right.shape == (m, 3)
    found = fitted.decompress(section, M.size)
    assert square(found - M.ravel()) < 1e-6 * square(M)
    again, _ = fitted.compress(memory, jnp.ravel(M), KEY)
    assert square(fitted.decompress(again, M.size) - M.ravel()) < 1e-6 * square(M)


@pytest.mark.parametrize("scale", [1e-12, 0.1, 1e12])
@pytest.mark.parametrize("left", ["ones", "signs", "zeros and ones"])
def test_columns_of_equal_magnitudes_count_once(left, scale):
    """What projection leaves of the second one is rounding, parallel to the first."""
    rng, fitted = np.random.default_rng(0), powersgd(3).for_shape((200, 30))
    x = {"ones": np.ones(200), "signs": rng.choice([-1, 1], 200)}.get(left, rng.choice(2, 200))
    M = jnp.float32(scale * np.outer(x, rng.normal(size=30)))
    for seed in range(5):
        section, _ = fitted.compress(fitted.init(M.size), jnp.ravel(M), jax.random.key(seed))
        assert square(fitted.decompress(section, M.size) - M.ravel()) < 1e-6 * square(M)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("r", [1, 4, 9])
def test_what_is_left_is_no_more_than_there_was_and_no_less_than_the_best_leaves(r, scale):
    for seed in range(3):
        M = matrix(50, 30, seed)
        fitted = powersgd(r).for_shape(M.shape)
        found, _ = sent(fitted, fitted.init(M.size), np.float32(scale) * M)
        left = square(found / scale - M)
        assert 0.999 * left_by_svd(M, r) <= left <= square(M)


def test_with_a_warm_start_the_same_matrix_is_read_ever_better():
    M, r = matrix(40, 30), 2
    best = left_by_svd(M, r)
    warm, cold = (powersgd(r, warm_start).for_shape(M.shape) for warm_start in (True, False))
    memory, left = warm.init(M.size), []
    for step in range(60):
        found, memory = sent(warm, memory, M, jax.random.key(step))
        left.append(square(found - M))
    assert left[0] > 1.1 * best
    assert left[-1] < 1.0001 * best
    assert max(np.diff(left)) < 1e-4 * best  # never worse, but for rounding
    found, memory = sent(cold, cold.init(M.size), M, jax.random.key(0))
    assert memory is None
    assert square(found - M) == left[0]
    found, _ = sent(cold, memory, M, jax.random.key(9))
    assert square(found - M) > 1.1 * best


def test_a_change_of_nothing_does_not_end_the_iteration():
    fitted = powersgd(2).for_shape((40, 30))
    nothing, memory = sent(fitted, fitted.init(1200), np.zeros((40, 30), np.float32))
    assert not nothing.any()
    found, memory = sent(fitted, memory, of_rank(2, 40, 30), jax.random.key(1))
    assert square(found - of_rank(2, 40, 30)) < 1e-6 * square(found)
    # Of one row alone, so that the second column is zero; and then of two.
    one = np.zeros((40, 30), np.float32)
    one[7] = 1
    _, memory = sent(fitted, memory, one, jax.random.key(2))
    found, _ = sent(fitted, memory, of_rank(2, 40, 30), jax.random.key(3))
    assert square(found - of_rank(2, 40, 30)) < 1e-4 * square(found)


@pytest.mark.parametrize("shape", [(), (7,), (1, 500), (500, 1), (4, 4), (3, 3, 1, 2), (2, 50)])
def test_what_would_not_be_smaller_goes_as_floats_exactly(shape):
    size = int(np.prod(shape))
    values = jnp.asarray(matrix(1, size)[0])
    for compressor in (powersgd(2).for_shape(shape), powersgd(2)):
        section, memory = compressor.compress(compressor.init(size), values, KEY)
        assert isinstance(section, Dense)
        assert memory is None
        np.testing.assert_array_equal(compressor.decompress(section, size), values)


def test_the_smallest_matrix_that_has_factors_is_smaller_in_them():
    for n, m in ((4, 5), (5, 5), (6, 3), (7, 3)):
        fitted = powersgd(2).for_shape((n, m))
        section, _ = fitted.compress(fitted.init(n * m), jnp.ravel(matrix(n, m)), KEY)
        assert isinstance(section, LowRank) == (2 * (n + m) < n * m)


@pytest.mark.parametrize(("shape", "r"), [((3, 3, 64, 64), 2), ((40, 30), 1), ((41, 30), 3)])
def test_the_bits_are_those_of_the_formula(shape, r):
    n, m = int(np.prod(shape[:-1])), shape[-1]
    fitted = powersgd(r).for_shape(shape)
    section, _ = fitted.compress(fitted.init(n * m), jnp.ravel(matrix(n, m)), KEY)
    message = Message(np.int32(Kind.UPDATE), (section,))
    counted, data = int(wire.size_bits(message)), wire.encode(message)
    assert counted == 8 * len(data) == 8 * (MESSAGE_HEADER_BYTES + 11 + -(-20 * r * (n + m) // 8))
    assert int(wire.formula_bits(message)) == 32 * r * (n + m)
    np.testing.assert_array_equal(
        fitted.decompress(wire.decode(data).sections[0], n * m), fitted.decompress(section, n * m)
    )


def test_many_clients_at_once_are_as_one_after_another():
    compressor = error_feedback(powersgd(2), "bfloat16").for_shape((20, 12))
    each = jnp.stack([jnp.ravel(matrix(20, 12, seed)) for seed in range(3)])
    keys = jax.random.split(KEY, 3)
    memory = compressor.init(240)
    assert [leaf.shape for leaf in jax.tree.leaves(memory)] == [(240,), (12, 2)]
    sections, _ = jax.vmap(compressor.compress, (None, 0, 0))(memory, each, keys)
    for i in range(3):
        section, _ = compressor.compress(memory, each[i], keys[i])
        one = compressor.decompress(jax.tree.map(lambda x, i=i: x[i], sections), 240)
        np.testing.assert_allclose(compressor.decompress(section, 240), one, atol=1e-2)


def test_what_is_not_finite_is_told_but_not_kept():
    compressor = error_feedback(powersgd(2)).for_shape((20, 12))
    bad = matrix(20, 12)
    bad[3, 4] = np.nan
    found, memory = sent(compressor, compressor.init(240), bad)
    assert np.isnan(found).any()
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(memory))
    M = of_rank(2, 20, 12)
    found, _ = sent(compressor, (jnp.zeros(240), memory[1]), M, jax.random.key(1))
    assert square(found - M) < 1e-6 * square(M)


@pytest.mark.parametrize("rank", [0, 65, 1.5])
def test_other_ranks_are_refused(rank):
    with pytest.raises(ConfigError, match=r"^compressor\.rank: "):
        powersgd(rank)
    down = {"algorithm.down.name": "powersgd", "algorithm.down.rank": rank}
    with pytest.raises(ConfigError, match=r"^algorithm\.down\.rank: "):
        replace(ExperimentConfig(), {"algorithm.name": "powersgd", **down})


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("groups", ["params", "kernels", "kernel=layered,bias=coded"])
def test_variables_that_are_joined_have_no_shape(groups, way):
    spec = groups if "=" not in groups else groups + ",norm+stats=dense"
    with pytest.raises(ConfigError, match=r"^algorithm\.groups: .*powersgd.* use layers"):
        fedavg(**{way: powersgd()}, groups=spec)


def test_only_what_asks_for_shapes_is_given_them():
    asks = {name for name, made in compress.registry.items() if made().for_shape is not None}
    assert asks == {"powersgd"}
    assert error_feedback(topk()).for_shape is None


def test_each_variable_of_a_model_has_a_memory_of_its_shape():
    both = {"algorithm.name": "powersgd", "algorithm.down.name": "powersgd"}
    algorithm = replace(ExperimentConfig(), both).algorithm.build()
    layer = {"kernel": jnp.zeros((3, 3, 4, 8)), "bias": jnp.zeros(8)}
    server, store = algorithm.init({"params": {"conv": layer, "head": jnp.zeros((9, 10))}}, 5)
    shapes = [leaf.shape for leaf in jax.tree.leaves(store.up)]
    assert shapes == [(5, 288), (5, 8, 2), (5, 90), (5, 10, 2)]
    assert [leaf.shape for leaf in jax.tree.leaves(server.down)] == [(8, 2), (10, 2)]
    message, _ = algorithm.broadcast(server, None, KEY)
    assert [type(section) for section in message.sections] == [LowRank, LowRank, Dense]


def distance_after(rounds, up):
    """How far from the mean of their targets three clients' server is, in shares of the start.

    Each moves by a fiftieth of the way to its own target.
    """
    targets = jnp.stack([jnp.asarray(matrix(20, 12, seed)) for seed in range(3)])
    algorithm, samples, sends = fedavg(up, groups="layers"), jnp.ones(3), always()(1)
    state = algorithm.init({"params": {"kernel": jnp.zeros((20, 12))}}, 3)

    def client(stored, target, weights, key):
        trained = jax.tree.map(lambda w: w + 0.02 * (target - w), weights)
        work = Work(Start(weights), trained, jnp.int32(1), jnp.float32(0.02), jnp.float32(0))
        return algorithm.upload(stored, work, sends, key)

    def one(state, key):
        server, store = state
        uploads, store = jax.vmap(client, (0, 0, None, 0))(
            store, targets, server.weights, jax.random.split(key, 3)
        )
        return (algorithm.aggregate(server, uploads, samples, sends), store), None

    (server, _), _ = jax.lax.scan(one, state, jax.random.split(KEY, rounds))
    wanted = np.mean(np.asarray(targets), axis=0)
    return np.sqrt(square(server.weights["params"]["kernel"] - wanted) / square(wanted))


def test_clients_that_differ_come_to_their_mean_with_feedback_and_not_without():
    assert distance_after(400, error_feedback(powersgd(2))) < 0.05
    assert distance_after(400, powersgd(2)) > 0.5
