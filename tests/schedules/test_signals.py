"""What adaptive schedules measure, against the exact quantities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from fedcode_jax.schedules import SKETCH_SIZE, model_variance, moved, sketch

ALL = jnp.ones(5, bool)


@pytest.mark.parametrize("seed", range(10))
def test_moved_is_the_wasserstein_distance_in_standard_deviations(seed):
    rng = np.random.default_rng(seed)
    K = int(rng.integers(2, 70))
    reference = np.sort(rng.normal(3, 2, K)).astype(np.float32)
    centers = np.sort(rng.standard_t(3, (5, K))).astype(np.float32)
    arrived = rng.random(5) < 0.6
    arrived[seed % 5] = True
    far = [wasserstein_distance(reference, one) for one in centers[arrived]]
    found = moved(jnp.asarray(reference), jnp.asarray(centers), jnp.asarray(arrived))
    assert float(found) == pytest.approx(np.mean(far) / reference.std(), rel=1e-5)
    # Another unit of length and another origin are the same movement.
    other = moved(7 * reference - 2, 7 * centers - 2, jnp.asarray(arrived))
    assert float(other) == pytest.approx(float(found), rel=1e-4)


def test_nobody_and_nothing_have_not_moved():
    centers = jnp.ones((3, 4))
    assert float(moved(jnp.zeros(0), jnp.zeros((3, 0)), jnp.ones(3, bool))) == 0
    assert float(moved(jnp.arange(4.0), centers, jnp.zeros(3, bool))) == 0
    assert np.isfinite(float(moved(jnp.ones(4), 2 * centers, jnp.ones(3, bool))))
    assert float(model_variance(jnp.ones((3, 8)), jnp.zeros(3, bool))) == 0
    assert float(model_variance(jnp.zeros((3, 8)), jnp.ones(3, bool))) == 0


def models(rng, n, spread):
    """Five models about a common one."""
    common = rng.normal(size=n)
    return jnp.float32(common + spread * rng.normal(size=(5, n)))


def exact(w):
    w = np.asarray(w, np.float64)
    mean = w.mean(axis=0)
    return ((w - mean) ** 2).sum(axis=1).mean() / (mean**2).sum()


def test_variance_of_sketches_of_full_size_is_exact():
    """With as many numbers as values a sketch is the vector under signs."""
    for seed in range(5):
        w = models(np.random.default_rng(seed), 40, 0.3)
        sketches = jax.vmap(lambda v: sketch(v, 40))(w)
        assert float(model_variance(sketches, ALL)) == pytest.approx(exact(w), rel=1e-4)


def test_those_that_did_not_arrive_do_not_count():
    w = models(np.random.default_rng(0), 40, 0.3)
    sketches = jax.vmap(lambda v: sketch(v, 40))(w)
    chosen = jnp.array([True, False, True, True, False])
    found = float(model_variance(sketches, chosen))
    assert found == pytest.approx(exact(w[np.asarray(chosen)]), rel=1e-4)


@pytest.mark.parametrize("n", [100, 1000])
def test_the_squared_length_of_differences_is_kept_to_the_stated_error(n):
    """The variance about the mean, over many sets of models: its mean and its scatter."""
    rng = np.random.default_rng(1)
    M, trials = 5, 300
    differences = jnp.float32(rng.normal(size=(trials, M, n)))
    both = jax.jit(jax.vmap(jax.vmap(sketch)))(differences)

    def spread(values):
        values = np.asarray(values, np.float64)
        return ((values - values.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))

    ratios = spread(both) / spread(differences)
    stated = np.sqrt(2 / SKETCH_SIZE / (M - 1))
    assert ratios.mean() == pytest.approx(1, abs=4 * stated / np.sqrt(trials))
    assert 0.7 * stated < ratios.std() < 1.3 * stated


def test_the_relative_variance_is_that_of_the_models_on_average():
    rng = np.random.default_rng(2)
    for spread in (0.05, 0.5):
        found, true = [], []
        for _ in range(200):
            w = models(rng, 500, spread)
            found.append(float(model_variance(sketched(w), ALL)))
            true.append(exact(w))
        # Both its numerator and its denominator are off by shares of sqrt(2 / 32) or less.
        errors = np.array(found) / true
        assert np.median(errors) == pytest.approx(1, abs=0.1)
        assert errors.std() < 2 * np.sqrt(2 / SKETCH_SIZE + 2 / SKETCH_SIZE / 4)


@jax.jit
def sketched(w):
    return jax.vmap(sketch)(w)


def test_a_sketch_is_linear_and_the_same_for_all():
    rng = np.random.default_rng(3)
    a, b = jnp.float32(rng.normal(size=(2, 1000)))
    assert sketch(a).shape == (SKETCH_SIZE,)
    np.testing.assert_allclose(sketch(a) + 2 * sketch(b), sketch(a + 2 * b), atol=1e-4)
    np.testing.assert_array_equal(sketch(a), jax.jit(sketch)(a))


def test_a_vector_added_to_all_models_moves_no_difference():
    """The numerator does not depend on where positions are measured from, the size does."""
    rng = np.random.default_rng(4)
    w, shift = models(rng, 1000, 0.2), jnp.float32(rng.normal(size=1000))
    one, other = sketched(w), sketched(w + shift)

    def variance(sketches):
        length = jnp.sum(jnp.square(jnp.mean(sketches, axis=0)))
        return float(model_variance(sketches, ALL) * length)

    assert variance(other) == pytest.approx(variance(one), rel=1e-4)


def test_another_scale_is_the_same_relative_variance():
    w = models(np.random.default_rng(5), 1000, 0.2)
    one, other = (float(model_variance(sketched(s * w), ALL)) for s in (1.0, 100.0))
    assert other == pytest.approx(one, rel=1e-5)
