"""The error of fitted codebooks against the exact optimum."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import optimum, sse
from sklearn.cluster import KMeans

from fedcode_jax import codebook


def brute_force(values, num_clusters, weights=None):
    """The least error by dynamic programming over all partitions into intervals, in float64."""
    v = np.asarray(values, np.float64)
    w = np.ones_like(v) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(v)
    v, w = v[order], w[order]
    n = v.size
    cost = np.zeros((n + 1, n + 1))
    for i in range(n):
        for j in range(i + 1, n + 1):
            total = w[i:j].sum()
            if total > 0:
                mean = (w[i:j] * v[i:j]).sum() / total
                cost[i, j] = (w[i:j] * (v[i:j] - mean) ** 2).sum()
    best = cost[0]
    for _ in range(num_clusters - 1):
        best = np.array([min(best[i] + cost[i, j] for i in range(j + 1)) for j in range(n + 1)])
    return best[n]


def draw(name, n):
    rng = np.random.default_rng(7)
    if name == "far outliers":
        values = np.concatenate([rng.normal(size=n - 4), [1e6, -1e5, 3e5, 3.1e5]])
    elif name == "many decades":
        values = np.sign(rng.normal(size=n)) * 10 ** rng.uniform(-8, 2, n)
    elif name == "bimodal":
        values = np.where(rng.random(n) < 0.5, 1e-3 * rng.normal(size=n) - 1, 1 + rng.random(n))
    elif name == "narrow modes":
        values = rng.choice([-1, 1, 1.01], n) + 1e-4 * rng.normal(size=n)
    elif name == "sparse":
        values = np.where(rng.random(n) < 0.9, 0, rng.normal(size=n))
    elif name == "few values":
        values = rng.choice(rng.normal(size=300), n)
    elif name == "ties":
        values = np.round(20 * rng.normal(size=n))
    elif name == "offset":
        values = 1000 + 0.1 * rng.normal(size=n)
    elif name.startswith("student"):
        values = rng.standard_t(int(name[-1]), n)
    else:
        values = getattr(rng, name)(size=n)
    return values.astype(np.float32)


@pytest.mark.parametrize("n", [900, 5_000, 17_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["normal", "laplace", "student 2", "student 3", "uniform"])
def test_within_a_thousandth_of_the_optimum(name, n):
    values = draw(name, n)
    for K in [16] if n < 1000 else [8, 16, 64]:
        ratio = sse(values, codebook.fit(values, K)) / optimum(values, K)
        assert ratio <= 1.001, (K, ratio)


@pytest.mark.parametrize("n", [5_000, 100_000])
def test_trained_weights(trained, n):
    values = np.random.default_rng(0).choice(trained, n, replace=False)
    for K in [8, 16, 64]:
        assert sse(values, codebook.fit(values, K)) <= 1.001 * optimum(values, K), K


@pytest.mark.parametrize("n", [6_000, 16_384, 16_385])
def test_within_a_ten_thousandth_on_trained_weights_around_the_crossover(trained, n):
    rng = np.random.default_rng(1)
    found = best = 0.0
    for _ in range(3):
        values = rng.choice(trained, n, replace=False)
        found += sse(values, codebook.fit(values, 64))
        best += optimum(values, 64)
    assert found <= 1.0001 * best


HARD = ["far outliers", "many decades", "bimodal", "narrow modes"]
HARD += ["sparse", "few values", "ties", "offset"]


@pytest.mark.parametrize("n", [900, 5_000, 17_000])
@pytest.mark.parametrize("name", HARD)
def test_hard_values(name, n):
    values = draw(name, n)
    for K in [16] if n < 1000 else [8, 16, 64]:
        ratio = sse(values, codebook.fit(values, K)) / optimum(values, K)
        assert ratio <= 1.005, (K, ratio)


def test_many_centers():
    values = draw("student 3", 5_000)
    assert sse(values, codebook.fit(values, 256)) <= 1.005 * optimum(values, 256)


finite = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    values=st.lists(st.one_of(finite, st.integers(-5, 5).map(float)), min_size=24, max_size=24),
    weights=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0, 3.0, 100.0]), min_size=24, max_size=24),
    K=st.sampled_from([3, 8]),
    weighted=st.booleans(),
)
def test_tiny_inputs_are_optimal(values, weights, K, weighted):
    values = np.array(values, np.float32)
    # One call signature, so that two compilations serve all examples.
    weights = np.array(weights if weighted and any(weights) else np.ones(24), np.float32)
    centers = np.asarray(codebook.fit(values, K, weights=weights))
    scale = np.abs(values).max() ** 2 * values.size
    found, best = sse(values, centers, weights), brute_force(values, K, weights)
    assert found <= 1.005 * best + 1e-12 * scale
    assert np.all(np.diff(centers) >= 0)


@pytest.mark.parametrize("n", [900, 5_000])
def test_weights_count_like_copies(n):
    rng = np.random.default_rng(1)
    values = rng.laplace(size=n).astype(np.float32)
    copies = rng.integers(0, 5, n)
    best = optimum(np.repeat(values, copies), 16)
    centers = codebook.fit(values, 16, weights=copies.astype(np.float32))
    assert sse(values, centers, copies) <= 1.001 * best
    oracle = KMeans(16, n_init=3, random_state=0).fit(values[:, None], sample_weight=copies)
    assert sse(values, centers, copies) <= 1.0001 * oracle.inertia_


@pytest.mark.parametrize("n", [900, 5_000])
def test_a_warm_start_reaches_the_same_error(n):
    values = draw("normal", n)
    poor = jnp.linspace(-1, 1, 16)
    assert sse(values, codebook.fit(values, 16, init=poor)) <= 1.001 * optimum(values, 16)


@pytest.mark.parametrize("n", [900, 5_000])
def test_centers_are_the_means_of_their_members(n):
    values = draw("laplace", n)
    centers = np.asarray(codebook.fit(values, 16))
    codes = np.asarray(codebook.encode(centers, values))
    means = [values[codes == k].astype(np.float64).mean() for k in range(16)]
    np.testing.assert_allclose(centers, means, atol=5e-3 * np.diff(centers).min())


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
@pytest.mark.parametrize("n", [900, 5_000])
def test_the_unit_of_the_values_does_not_matter(n, scale):
    values = draw("normal", n)
    scaled = np.asarray(codebook.fit(values * np.float32(scale), 16)) / scale
    assert sse(values, scaled) <= 1.001 * optimum(values, 16)
