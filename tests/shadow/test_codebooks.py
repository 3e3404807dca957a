"""The optimum that fitted codebooks are held against, itself held against kmeans1d."""

import kmeans1d
import numpy as np
import pytest

from fedcode_jax import codebook
from fedcode_jax.shadow import codebooks


@pytest.mark.parametrize(("n", "K", "allowed"), [(40, 8, 1e-9), (700, 16, 1e-9), (9000, 32, 5e-3)])
def test_it_is_the_optimum_or_hardly_above(n, K, allowed):
    values = np.sort(np.random.default_rng(n).standard_t(3, n))
    exact = codebooks.error(values, np.array(kmeans1d.cluster(values, K).centroids))
    assert 1 - 1e-9 <= codebooks._optimum(values, K) / exact <= 1 + allowed


def test_a_fitted_codebook_is_within_its_bound_and_another_is_not():
    values = np.random.default_rng(0).normal(size=900).astype(np.float32).astype(np.float64)
    centers = np.asarray(codebook.fit(values, 16), np.float64)
    assert codebooks.above_optimum(values, centers) <= codebooks.WITHIN
    assert codebooks.above_optimum(values, np.linspace(-2.5, 2.5, 16)) > 0.1


def test_a_value_that_is_not_at_its_nearest_center_is_found():
    centers, values = np.array([0.0, 1.0, 3.0]), np.array([0.4, 2.5, -7.0])
    assert codebooks.excess(values, np.array([0.0, 3.0, 0.0]), centers) == 0
    assert codebooks.excess(values, np.array([1.0, 3.0, 0.0]), centers) == pytest.approx(0.2 / 3)
    assert codebooks.excess(values, np.array([0.5, 3.0, 0.0]), centers) == np.inf
