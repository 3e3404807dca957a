"""Every rule against plain NumPy, with clients of which nothing arrived, ties and hostile ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import aggregation
from fedcode_jax.errors import ConfigError

RULES = {
    "mean": aggregation.mean(),
    "median": aggregation.median(),
    "trimmed_mean": aggregation.trimmed_mean(0.25),
    "norm_clip": aggregation.norm_clip(1.5),
    "norm_clip, adaptive": aggregation.norm_clip(),
    "krum": aggregation.krum(2),
    "multi_krum": aggregation.multi_krum(2, 3),
}
ROBUST = {"median", "trimmed_mean", "krum", "multi_krum"}
PROGRAMS = {name: jax.jit(lambda m, n, r=r: r.combine(m, n, None)) for name, r in RULES.items()}
M, SIZES = 9, (7, 4)


def combined(name, moves, num_samples):
    return np.concatenate(PROGRAMS[name](tuple(map(jnp.asarray, moves)), jnp.asarray(num_samples)))


def clipped(v, n, bound):
    norms = np.linalg.norm(v, axis=1)
    bound = np.median(norms) if bound is None else bound
    return np.average(v * np.minimum(1, bound / norms)[:, None], axis=0, weights=n)


def nearest(v, hostile, chosen):
    """Multi-Krum by its definition, one pair of clients after another."""
    m = len(v)
    scores = []
    for i in range(m):
        others = sorted(float(np.sum((v[i] - v[j]) ** 2)) for j in range(m) if j != i)
        scores.append(sum(others[: max(m - hostile - 2, 1)]))
    order = sorted(range(m), key=lambda i: (round(scores[i], 4), np.linalg.norm(v[i])))
    return v[order[:chosen]].mean(axis=0)


def trimmed(v, share):
    cut = int(share * len(v))
    return np.sort(v, axis=0)[cut : len(v) - cut].mean(axis=0)


ORACLES = {
    "mean": lambda v, n: np.average(v, axis=0, weights=n),
    "median": lambda v, n: np.median(v, axis=0),
    "trimmed_mean": lambda v, n: trimmed(v, 0.25),
    "norm_clip": lambda v, n: clipped(v, n, 1.5),
    "norm_clip, adaptive": lambda v, n: clipped(v, n, None),
    "krum": lambda v, n: nearest(v, 2, 1),
    "multi_krum": lambda v, n: nearest(v, 2, 3),
}


def drawn(seed=0, values=None):
    rng = np.random.default_rng(seed)
    if values is None:
        moves = [rng.normal(size=(M, n)) for n in SIZES]
    else:  # few different ones, so that there are ties
        moves = [rng.choice(values, size=(M, n)) for n in SIZES]
    samples = rng.integers(1, 9, M)
    return [np.float32(each) for each in moves], np.float32(samples)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("arrived", [9, 8, 5, 4, 2, 1])
def test_a_rule_is_what_numpy_makes_of_those_that_arrived(name, arrived):
    moves, samples = drawn(arrived)
    here = np.sort(np.random.default_rng(arrived).permutation(M)[:arrived])
    gone = np.setdiff1d(np.arange(M), here)
    samples[gone] = 0
    for each in moves:
        each[gone] = np.nan  # what did not arrive cannot matter
    expected = ORACLES[name](np.concatenate(moves, axis=1)[here].astype(np.float64), samples[here])
    np.testing.assert_allclose(combined(name, moves, samples), expected, atol=2e-6)


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "norm_clip", "norm_clip, adaptive"])
def test_ties_change_nothing(name):
    moves, samples = drawn(3, values=[-1.0, 0.0, 2.0])
    expected = ORACLES[name](np.concatenate(moves, axis=1).astype(np.float64), samples)
    np.testing.assert_allclose(combined(name, moves, samples), expected, atol=2e-6)


@pytest.mark.parametrize("name", RULES)
def test_where_nobody_counts_nothing_moves(name):
    moves, _ = drawn()
    assert not combined(name, moves, np.zeros(M, np.float32)).any()


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_clients_does_not_matter(name):
    for seed in range(5):
        moves, samples = drawn(seed, values=None if seed else [0.0, 1.0])
        order = np.random.default_rng(seed + 50).permutation(M)
        found = combined(name, [each[order] for each in moves], samples[order])
        np.testing.assert_allclose(found, combined(name, moves, samples), atol=1e-6)


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("harm", [100.0, -100.0, np.nan, np.inf])
def test_a_hostile_client_moves_a_robust_rule_no_further_than_honest_ones_are(name, harm):
    moves, samples = drawn(7)
    honest = np.delete(np.concatenate(moves, axis=1), 4, axis=0)
    for each in moves:
        each[4] *= harm
    found = combined(name, moves, samples)
    inside = (found >= honest.min(0) - 1e-6) & (found <= honest.max(0) + 1e-6)
    if name in ROBUST:
        assert inside.all()
    elif name == "mean":
        assert not inside.all()
    else:  # the direction of a long change stays, its length does not
        largest = np.linalg.norm(honest, axis=1).max()
        assert np.linalg.norm(found) <= largest


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_the_same_under_vmap(name):
    both = [drawn(seed) for seed in (1, 2)]
    moves = tuple(jnp.stack(each) for each in zip(*(moves for moves, _ in both), strict=True))
    samples = jnp.stack([samples for _, samples in both])
    rule = lambda moves, samples: RULES[name].combine(moves, samples, None)  # noqa: E731
    together = np.concatenate(jax.jit(jax.vmap(rule))(moves, samples), axis=1)
    for found, (moves, samples) in zip(together, both, strict=True):
        np.testing.assert_allclose(found, combined(name, moves, samples), atol=1e-6)


def test_equal_neighbours_of_krum_are_told_apart_by_their_lengths():
    moves = (jnp.array([[4.0], [3.0], [40.0], [50.0]]),)  # the first two are each other's nearest
    for order in ([0, 1, 2, 3], [1, 0, 3, 2]):
        found = aggregation.krum(1).combine((moves[0][jnp.array(order)],), jnp.ones(4), None)
        assert found[0].tolist() == [3.0]


def test_settings_that_are_not_allowed_are_refused():
    for make in (
        lambda: aggregation.trimmed_mean(0.5),
        lambda: aggregation.norm_clip(0.0),
        lambda: aggregation.krum(-1),
        lambda: aggregation.multi_krum(1, 0),
    ):
        with pytest.raises(ConfigError, match=r"^algorithm\.aggregation\."):
            make()
