"""Sizes computed inside a jitted program against the bytes, and the bytes against the entropy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import coded, dense, earlier, message, random_message

from fedcode_jax import wire
from fedcode_jax.wire import Coded, Kind, Message


def entropy_bits(*symbols):
    """Empirical entropy of jointly distributed symbols, of all of them together, in bits."""
    _, counts = np.unique(np.stack(symbols), axis=1, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum())


@pytest.mark.parametrize("seed", range(40))
def test_fixed_width_and_floats_are_counted_exactly(seed):
    rng = np.random.default_rng(seed)
    m = random_message(rng)
    fixed = [s if not isinstance(s, Coded) else Coded(s.centers, s.codes) for s in m.sections]
    fixed = [s for s in fixed if not wire.is_entropy_coded(Message(m.kind, (s,)))]
    m = Message(m.kind, tuple(fixed))
    assert 8 * len(wire.encode(m)) == int(wire.size_bits(m))


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("num_clusters", [1, 16, 300])
@pytest.mark.parametrize("coding", wire.CODINGS[1:])
def test_entropy_coded_sizes_are_those_of_the_bytes(coding, num_clusters, block):
    rng = np.random.default_rng(num_clusters)
    for n in [0, 33, 5000]:
        layers = (n // 3, n - n // 3) if coding == "adaptive" else ()
        m = message(Kind.WEIGHTS, coded(rng, num_clusters, n, coding, block, layers), dense(rng, 3))
        for known in (None, earlier(rng, m)):
            real = len(wire.encode(m, given=known))
            traced = jax.jit(lambda m, known: wire.size_bits(m, given=known))(m, known)
            assert abs(int(traced) / 8 - real) <= 4, (n, known is None)
        codebook = message(Kind.CODEBOOK, *m.sections)
        assert int(wire.size_bits(codebook)) == 8 * len(wire.encode(codebook))


def test_sizes_under_jit_and_vmap_follow_kinds_and_references():
    rng = np.random.default_rng(0)
    m = message(Kind.WEIGHTS, coded(rng, 16, 900, "conditional"))
    known = earlier(rng, m)
    kinds = jnp.array([Kind.NOTHING, Kind.CODEBOOK, Kind.WEIGHTS, Kind.WEIGHTS], jnp.int32)
    held = jnp.array([Kind.WEIGHTS, Kind.WEIGHTS, Kind.WEIGHTS, Kind.NOTHING], jnp.int32)

    @jax.jit
    def sizes(kinds, held):
        def size(kind, holds):
            given = Message(holds, known.sections)
            return wire.size_bits(Message(kind, m.sections), given=given)

        return jax.vmap(size)(kinds, held)

    found = np.asarray(sizes(kinds, held)) / 8
    conditional, adaptive = len(wire.encode(m, given=known)), len(wire.encode(m))
    codebook = len(wire.encode(message(Kind.CODEBOOK, *m.sections)))
    assert found[:2].tolist() == [0, codebook]
    assert abs(found[2] - conditional) <= 4
    assert abs(found[3] - adaptive) <= 4
    assert conditional < 0.8 * adaptive


def skewed(rng, K, n):
    """Codes far from what a model expects: rare ones, runs, changes of what is usual."""
    rare = 10.0 ** -rng.uniform(0, 5)
    style = rng.integers(0, 4)
    if style == 0:
        codes = np.where(rng.random(n) < rare, rng.integers(0, K, n), rng.integers(0, K))
    elif style == 1:
        codes = rng.integers(0, K, 50)[np.sort(rng.integers(0, 50, n))]
    elif style == 2:
        codes = np.minimum(rng.geometric(1 - 0.9 * rare, n) - 1, K - 1)
    else:
        usual = np.where(rng.random(n) < rare, K - 1, rng.integers(0, K))
        codes = np.where(np.arange(n) < n // 2, 0, usual)
    return codes.astype(np.uint8)


@pytest.mark.parametrize("coding", wire.CODINGS[1:])
@pytest.mark.parametrize("n", [100, 5000, 300_000])
@pytest.mark.parametrize("K", [2, 3, 64])
def test_skewed_codes_are_counted_as_they_are_coded(K, n, coding):
    rng = np.random.default_rng(n + K)
    centers = np.arange(K, dtype=np.float32)
    size = jax.jit(lambda m, known: wire.size_bits(m, given=known))
    for trial in range(5):
        codes = skewed(rng, K, n)
        layers = (n // 5, n - n // 5 - n // 7, n // 7) if coding == "adaptive" and trial > 2 else ()
        m = message(Kind.WEIGHTS, Coded(centers, codes, coding, layers))
        old = skewed(rng, K, n) if trial == 4 else np.where(rng.random(n) < 0.01, 0, codes)
        known = message(Kind.WEIGHTS, Coded(centers, old.astype(np.uint8)))
        real = len(wire.encode(m, given=known))
        assert abs(int(size(m, known)) // 8 - real) <= 8


@pytest.mark.parametrize("coding", wire.CODINGS[1:])
def test_a_change_that_no_model_expects_is_counted(coding):
    for K in (2, 16):
        codes = np.repeat(np.uint8([0, K - 1]), 25_000)
        centers = np.arange(K, dtype=np.float32)
        known = message(Kind.WEIGHTS, Coded(centers, np.zeros(50_000, np.uint8)))
        m = message(Kind.WEIGHTS, Coded(centers, codes, coding))
        real = len(wire.encode(m, given=known))
        assert abs(int(wire.size_bits(m, given=known)) // 8 - real) <= 8


@pytest.mark.parametrize("coding", ["entropy", "adaptive"])
def test_millions_of_codes_of_which_few_differ_are_counted(coding):
    rng = np.random.default_rng(0)
    codes = (rng.random(3_000_000) >= 1e-4).astype(np.uint8)
    m = message(Kind.WEIGHTS, Coded(np.float32([0, 1]), codes, coding))
    real = len(wire.encode(m))
    assert abs(int(wire.size_bits(m)) // 8 - real) <= 8


def weights_like(n, K, seed=0):
    """Codes as those of a codebook of K centers on bell-shaped weights."""
    rng = np.random.default_rng(seed)
    centers = np.sort(rng.standard_t(5, K)).astype(np.float32)
    values = rng.standard_t(5, n)
    codes = np.searchsorted((centers[1:] + centers[:-1]) / 2, values)
    return centers, values, codes.astype(np.uint8)


@pytest.mark.parametrize(("n", "K"), [(6_000, 16), (6_000, 64), (270_000, 64), (270_000, 256)])
def test_static_and_adaptive_codes_are_within_a_percent_of_the_entropy_and_64_bytes(n, K):
    centers, _, codes = weights_like(n, K)
    floats_and_header = 9 + 15 + 4 * K
    for coding in ("entropy", "adaptive"):
        data = wire.encode(message(Kind.WEIGHTS, Coded(centers, codes, coding)))
        assert len(data) - floats_and_header <= 1.01 * entropy_bits(codes) / 8 + 64, coding


def test_few_different_codes_take_little_more_than_nothing():
    codes = np.zeros(300_000, np.uint8)
    codes[7] = 1
    for coding in ("entropy", "adaptive"):
        data = wire.encode(message(Kind.WEIGHTS, Coded(np.float32([0, 1]), codes, coding)))
        assert len(data) <= 76 + 9 + 15 + 8 + 2
    constant = np.zeros(300_000, np.uint8)
    data = wire.encode(message(Kind.WEIGHTS, Coded(np.float32([0, 1]), constant, "entropy")))
    assert len(data) == 9 + 13 + 8 + 2 + 76  # the filling alone, 300,000 / 2^12 in whole words


def test_layers_of_their_own_width_are_cheaper_when_they_are_named():
    wide, narrow = np.random.default_rng(0).normal(size=(2, 20_000)) * [[1.0], [0.2]]
    centers = np.linspace(-3, 3, 64, dtype=np.float32)
    middles = (centers[1:] + centers[:-1]) / 2
    codes = np.searchsorted(middles, np.concatenate([wide, narrow])).astype(np.uint8)
    sizes = [
        len(wire.encode(message(Kind.WEIGHTS, Coded(centers, codes, "adaptive", layers))))
        for layers in ((), (20_000, 20_000))
    ]
    by_layer = entropy_bits(codes[:20_000]) + entropy_bits(codes[20_000:])
    assert sizes[1] < 0.93 * sizes[0]
    assert sizes[1] <= 1.01 * by_layer / 8 + 64 + 9 + 23 + 256


@pytest.mark.parametrize("K", [16, 64])
def test_conditional_codes_are_near_the_conditional_entropy(K):
    n = 100_000
    centers, values, codes = weights_like(n, K)
    rng = np.random.default_rng(1)
    old = np.searchsorted((centers[1:] + centers[:-1]) / 2, values + 0.1 * rng.normal(size=n))
    old = old.astype(np.uint8)
    m = message(Kind.WEIGHTS, Coded(centers, codes, "conditional"))
    data = wire.encode(m, given=message(Kind.WEIGHTS, Coded(centers, old)))
    ideal = (entropy_bits(old, codes) - entropy_bits(old)) / 8
    assert len(data) - 4 * K <= 1.02 * ideal + 64 + 0.1 * K**2
    assert len(data) < 0.75 * len(wire.encode(m))


def test_what_both_remember_is_the_last_weights_message():
    rng = np.random.default_rng(0)
    first, second = (message(Kind.WEIGHTS, coded(rng, 4, 9), dense(rng, 3)) for _ in range(2))
    known = wire.reference(first)
    assert known.sections[1].values.size == 0
    codebook = message(Kind.CODEBOOK, *second.sections)
    np.testing.assert_array_equal(
        wire.remember(known, codebook).sections[0].codes, first.sections[0].codes
    )
    after = wire.remember(known, second)
    np.testing.assert_array_equal(after.sections[0].codes, second.sections[0].codes)
    assert int(after.kind) == Kind.WEIGHTS
