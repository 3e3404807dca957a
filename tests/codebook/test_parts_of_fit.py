"""The parts that `fit` is made of, each against plain NumPy in float64."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.codebook.best_path import best_path
from fedcode_jax.codebook.better_edges import refine
from fedcode_jax.codebook.condense import sorted_atoms
from fedcode_jax.codebook.moments import (
    compare_measure,
    make_tree,
    measure,
    measured,
    scatter_measure,
)
from fedcode_jax.codebook.numerics import (
    capped_factor,
    count_below,
    prefix_sum,
    run_sums,
    running_max,
    sort_floats,
)

POINTS = 4


def draw(name, n=600):
    rng = np.random.default_rng(3)
    values = {
        "normal": rng.normal(size=n),
        "offset": 1000 + rng.normal(size=n),
        "narrow modes": rng.choice([-1, 1, 1.01], n) + 1e-4 * rng.normal(size=n),
        "ties": np.round(10 * rng.normal(size=n)),
        "far outliers": np.append(rng.normal(size=n - 3), [1e6, -3e5, 1.1e6]),
    }[name]
    return values.astype(np.float32)


NAMES = pytest.mark.parametrize(
    "name", ["normal", "offset", "narrow modes", "ties", "far outliers"]
)


def moments(positions, weights):
    if weights.sum() == 0:
        return 0.0, 0.0, 0.0
    mean = weights @ positions / weights.sum()
    return weights.sum(), mean, weights @ (positions - mean) ** 2


def test_floats_are_sorted_as_floats():
    values = np.random.default_rng(0).normal(size=999).astype(np.float32)
    values[:8] = [np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-38, -1e-38]
    assert np.asarray(sort_floats(jnp.asarray(values))).tolist() == np.sort(values).tolist()


TARGETS = pytest.mark.parametrize("target", ["cpu", "gpu"])


@TARGETS
@pytest.mark.parametrize("size", [1, 16, 17, 64, 65, 1025, 6000])
def test_prefix_sum_of_whole_numbers_is_exact(size, target):
    numbers = np.random.default_rng(size).integers(0, 9, size)
    found = np.asarray(prefix_sum(jnp.asarray(numbers, jnp.float32), target))
    assert found.tolist() == [0, *np.cumsum(numbers)]


@TARGETS
def test_counting_within_bounds_is_counting_and_clipping(target):
    rng = np.random.default_rng(0)
    ascending = np.sort(rng.integers(0, 50, 100)).astype(np.float32)
    limits = rng.uniform(-5, 55, 400).astype(np.float32)
    least, most = np.sort(rng.integers(0, 101, (2, 400)), axis=0).astype(np.int32)
    found = count_below(jnp.asarray(ascending), jnp.asarray(limits), (least, most), target=target)
    expected = np.clip(np.searchsorted(ascending, limits), least, most)
    assert np.asarray(found).tolist() == expected.tolist()


@pytest.mark.parametrize("size", [1, 127, 128, 129, 16_384, 16_385, 2**17 + 1])
def test_counting_by_rows_is_counting_one_by_one(size):
    rng = np.random.default_rng(size)
    ascending = np.sort(rng.integers(0, 2 * size, size)).astype(np.int32)
    limits = np.append(rng.integers(-5, 2 * size + 5, 200), [ascending[-1], ascending[0]])
    found = count_below(jnp.asarray(ascending), jnp.asarray(limits, jnp.int32), target="gpu")
    assert np.asarray(found).tolist() == np.searchsorted(ascending, limits).tolist()


@pytest.mark.parametrize("size", [1, 128, 129, 20_000])
def test_sums_of_runs_hold_nothing_of_the_runs_before(size):
    rng = np.random.default_rng(size)
    keys = np.sort(rng.integers(0, max(size // 50, 1), size))
    x = rng.random(size).astype(np.float32)
    x[keys == keys[0]] *= 1e12
    found = np.asarray(run_sums(jnp.asarray(x), jnp.asarray(keys)))
    expected = np.concatenate([np.cumsum(x[keys == k].astype(np.float64)) for k in np.unique(keys)])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.asarray(running_max(jnp.asarray(x))).tolist() == np.maximum.accumulate(x).tolist()


@pytest.mark.parametrize("total", [3.0, 40.0, 99.0])
def test_wishes_of_at_most_one_each_add_up(total):
    wish = np.exp(12 * np.random.default_rng(0).normal(size=100)).astype(np.float32)
    factor = float(capped_factor(jnp.asarray(wish), total))
    np.testing.assert_allclose(np.minimum(factor * wish, 1).sum(), total, rtol=0.05)


@TARGETS
@pytest.mark.parametrize("K", [1, 2, 5, 8])
def test_the_best_path_is_the_best_of_all(target, K):
    R, end = 3, 1
    costs = np.random.default_rng(K).random((K, R, R)).astype(np.float32)
    costs[np.random.default_rng(9).random(costs.shape) < 0.2] = np.inf
    ways = itertools.product(range(R), repeat=K - 1)
    sums = {
        way: sum(costs[k, a, b] for k, (a, b) in enumerate(itertools.pairwise((end, *way, end))))
        for way in ways
    }
    places, least = best_path(jnp.asarray(costs), end, target)
    best = min(sums, key=sums.get)
    assert places[0] == end
    if np.isfinite(sums[best]):
        assert tuple(np.asarray(places)[1:]) == best
    np.testing.assert_allclose(least, sums[best], rtol=1e-6)


def test_sorted_atoms_are_the_distinct_values():
    values = draw("ties")
    distinct, counts = np.unique(values, return_counts=True)
    atoms = sorted_atoms(jnp.asarray(values), None)
    assert atoms.number == distinct.size
    assert np.asarray(atoms.positions)[: distinct.size].tolist() == distinct.tolist()
    assert np.asarray(atoms.weights).tolist() == [*counts, *[0] * (values.size - distinct.size)]
    assert np.all(np.asarray(atoms.positions)[distinct.size :] == distinct[-1])


@NAMES
def test_segments_are_measured_alike_in_every_way(name):
    atoms = sorted_atoms(jnp.asarray(draw(name)), None)
    number = int(atoms.number)
    inner = np.sort(np.random.default_rng(0).integers(0, number + 1, 40))
    ends = jnp.asarray([0, *inner, number], jnp.int32)
    x, w = np.asarray(atoms.positions, np.float64), np.asarray(atoms.weights, np.float64)
    pairs = list(itertools.pairwise(np.asarray(ends)))
    expected = np.array([moments(x[a:b], w[a:b]) for a, b in pairs]).T
    extent = np.array([x[b - 1] - x[a] if b > a else 0 for a, b in pairs])
    for sets in [
        scatter_measure(atoms, ends),
        scatter_measure(atoms, ends, crowded=True),
        measure(make_tree(atoms), ends),
        compare_measure(atoms, ends),
    ]:
        weight, mean, error = (np.asarray(m, np.float64) for m in sets.moments)
        mean = mean + np.where(weight > 0, np.asarray(sets.points, np.float64), 0)
        np.testing.assert_array_equal(weight, expected[0])
        assert np.all(np.abs(mean - expected[1]) <= 1e-5 * extent)
        np.testing.assert_allclose(error, expected[2], rtol=1e-4)


def best_of_candidates(x, w, places, fixed, number):
    """The least error of cells between places[k], one for each inner edge, in float64."""
    best = {fixed: 0.0}
    for options in [*places, [number]]:
        after = {}
        for stop in options:
            costs = [
                cost + moments(x[start:stop], w[start:stop])[2]
                for start, cost in best.items()
                if start < stop
            ]
            after[stop] = min(costs, default=np.inf)
        best = after
    return best[number]


@NAMES
@pytest.mark.parametrize("far", [True, False])
@TARGETS
def test_refining_finds_the_best_of_its_candidates(name, target, far):
    """With the atoms themselves as points: any edge may move by a cell, or by half of one."""
    atoms = sorted_atoms(jnp.asarray(draw(name)), None)
    K = 6
    # Cells of as many atoms as an edge has points, so that points and atoms are the same.
    number = K * POINTS
    x = np.asarray(atoms.positions)[: atoms.number]
    x = x[np.linspace(0, x.size - 1, number).astype(int)]
    w = np.random.default_rng(0).integers(1, 5, number).astype(np.float32)
    atoms = atoms._replace(
        positions=jnp.asarray(x), weights=jnp.asarray(w), number=jnp.int32(number)
    )
    edges = jnp.arange(K + 1, dtype=jnp.int32) * POINTS
    scale = jnp.arange(number, dtype=jnp.float32)
    segments = measured(atoms, K * POINTS, target)
    found = refine(segments, edges, POINTS, jnp.float32(0.5), scale, target=target, far=far)
    most = POINTS if far else POINTS // 2
    places = [range(k * POINTS - most, k * POINTS + most + 1) for k in range(1, K)]
    x, w = x.astype(np.float64), w.astype(np.float64)
    best = best_of_candidates(x, w, places, 0, number)
    ends = np.asarray(found.edges)
    assert all(end in options for end, options in zip(ends[1:-1], places, strict=True))
    reached = sum(moments(x[a:b], w[a:b])[2] for a, b in itertools.pairwise(ends))
    # Float32 tells no less than this from the present error.
    rounding = 1e-6 * float(found.before)
    assert reached <= best * (1 + 1e-4) + rounding
    np.testing.assert_allclose(found.after, reached, rtol=1e-4, atol=rounding)
