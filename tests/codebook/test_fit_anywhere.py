"""The error of fitted codebooks on whatever a generator comes up with, and on many values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import optimum, sse

from fedcode_jax import codebook
from fedcode_jax.codebook.condense import binned_atoms
from fedcode_jax.codebook.sorted_bins import bin_sorted

SHAPES = ["normal", "uniform", "cauchy", "lognormal", "decades", "grid", "constant"]

part = st.tuples(
    st.sampled_from(SHAPES),
    st.floats(0, 5),  # tens of the mass it has, against the others
    st.floats(-4, 4),  # tens of its width
    st.floats(-3, 3) | st.just(0.0),  # where it lies, in the unit of the widest
)
mixture = st.lists(part, min_size=1, max_size=6)


def draw(parts, n, seed):
    """n values of a mixture; offsets up to the hundred-thousandth part of what float32 resolves."""
    rng = np.random.default_rng(seed)
    mass = np.array([10.0**-tens for _, tens, _, _ in parts])
    widest = max(10.0**tens for _, _, tens, _ in parts)
    values = np.empty(n)
    which = rng.choice(len(parts), n, p=mass / mass.sum())
    for i, (shape, _, tens, place) in enumerate(parts):
        m = np.sum(which == i)
        x = {
            "normal": lambda m: rng.normal(size=m),
            "uniform": lambda m: rng.random(m),
            "cauchy": lambda m: rng.standard_cauchy(m).clip(-1e6, 1e6),
            "lognormal": lambda m: rng.lognormal(0, 2, m),
            "decades": lambda m: np.sign(rng.normal(size=m)) * 10 ** rng.uniform(-9, 0, m),
            "grid": lambda m: np.round(5 * rng.normal(size=m)),
            "constant": np.zeros,
        }[shape](m)
        values[which == i] = 10.0**tens * x + place * widest
    return values.astype(np.float32)


def resolution(values):
    """What rounding the values' own mean to float32 can cost."""
    return np.sum(np.spacing(np.abs(values)).astype(np.float64) ** 2)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    parts=mixture,
    size_and_k=st.sampled_from([(1000, 16), (4000, 16), (4000, 64)]),
    seed=st.integers(0, 9),
    weighted=st.booleans(),
)
def test_within_half_a_percent_of_the_optimum_anywhere(parts, size_and_k, seed, weighted):
    n, K = size_and_k
    values = draw(parts, n, seed)
    copies = np.random.default_rng(seed).integers(1, 4 if weighted else 2, n)
    weights = copies.astype(np.float32) if weighted else None
    centers = codebook.fit(values, K, weights=weights)
    best = optimum(np.repeat(values, copies), K)
    assert sse(values, centers, copies) <= 1.005 * best + 3 * resolution(values)
    assert np.all(np.diff(centers) >= 0)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    parts=mixture,
    size_and_k=st.sampled_from([(1000, 64), (6_000, 256), (60_000, 16), (60_000, 64)]),
    seed=st.integers(10, 99),
)
def test_more_values_and_more_centers_anywhere(parts, size_and_k, seed):
    n, K = size_and_k
    values = draw(parts, n, seed)
    assert sse(values, codebook.fit(values, K)) <= 1.005 * optimum(values, K) + resolution(values)


@pytest.mark.parametrize("weighted", [False, True])
def test_bins_by_scattering_and_by_sorting_hold_the_same(weighted):
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.standard_t(2, 20_000), np.zeros(9_000), np.full(999, 1e5)])
    values = values.astype(np.float32)
    weights = rng.random(values.size).astype(np.float32) if weighted else None
    counted = np.ones(values.size) if weights is None else weights.astype(np.float64)
    scattered = jax.jit(binned_atoms, static_argnums=(2, 3))(values, weights, 2**14, 64)
    ordered = jax.jit(bin_sorted, static_argnums=(2, 3))(values, weights, 2**14, "gpu")
    for positions, masses, number in (scattered, ordered):
        assert 4000 < number <= 2**14
        assert np.all(np.diff(np.asarray(positions)) >= 0)
        x, w = np.asarray(positions, np.float64), np.asarray(masses, np.float64)
        assert np.all(w[:number] > 0)
        np.testing.assert_allclose(w.sum(), counted.sum(), rtol=1e-5)
        np.testing.assert_allclose(w @ x, counted @ values.astype(np.float64), rtol=1e-5)
        # What bins lose is far less than what 64 cells do.
        assert sse(values, x[:number], counted) <= 1e-3 * sse(values, codebook.fit(values, 64))


def test_few_distinct_values_are_exact_when_sorted():
    pool = np.array([-3e8, -1.0, -1e-20, 0.0, 0.1, np.nextafter(np.float32(0.1), 1), 7e5])
    values = np.random.default_rng(0).choice(pool.astype(np.float32), 20_003)
    centers = np.asarray(codebook.fit(values, 8, target="gpu"))
    assert centers[:7].tolist() == np.unique(values).tolist()
    assert centers[7] == centers[6]


def test_rows_are_tallied_together(monkeypatch):
    values = np.random.default_rng(0).standard_t(3, 20_007).astype(np.float32)
    monkeypatch.setattr("fedcode_jax.codebook.bin_sums._ROW", 1_000)
    atoms = binned_atoms(jnp.asarray(values), None, 2**13, 64)
    assert np.asarray(atoms.weights).sum() == values.size
    mean = np.asarray(atoms.weights, np.float64) @ np.asarray(atoms.positions, np.float64)
    np.testing.assert_allclose(mean / values.size, values.astype(np.float64).mean(), atol=1e-6)
    assert sse(values, codebook.fit(values, 64)) <= 1.0005 * optimum(values, 64)


@pytest.mark.slow
def test_many_values_mostly_ties():
    """More copies of one value than float32 counts, among values that need all other centers."""
    zeros, spread = 27_000_000, 3_000_000
    values = np.random.default_rng(0).standard_normal(spread, dtype=np.float32)
    centers = np.asarray(codebook.fit(np.append(np.zeros(zeros, np.float32), values), 64))
    middles = (centers[1:] + centers[:-1]) / 2
    codes = np.searchsorted(middles, values)
    counts = np.bincount(codes, minlength=64)
    counts[np.searchsorted(middles, np.float32(0))] += zeros
    means = np.bincount(codes, values.astype(np.float64), 64) / counts
    np.testing.assert_allclose(centers, means, atol=2e-2 * np.diff(centers).min())
    # The zeros as one value of their weight.
    weights = np.append(np.float32(zeros), np.ones(spread, np.float32))
    weighted = codebook.fit(np.append(np.float32(0), values), 64, weights=weights)
    assert sse(values, centers) <= 1.0005 * sse(values, weighted)
