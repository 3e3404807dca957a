"""Codewords of several values: the five verbs against scikit-learn and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from fedcode_jax import codebook
from fedcode_jax.errors import ConfigError, DataError


def rows_of(values, block):
    """Rows and which coordinates count."""
    fill = -len(values) % block
    mask = np.pad(np.ones(len(values)), (0, fill)).reshape(-1, block)
    return np.pad(values, (0, fill)).reshape(-1, block).astype(np.float64), mask


def distances(values, centers):
    x, mask = rows_of(values, centers.shape[1])
    differences = x[:, None] - np.asarray(centers, np.float64)[None]
    return (mask[:, None] * differences**2).sum(axis=2)


def least_of_ten(rows, K, weights=None):
    """The inertia of scikit-learn's best of ten starts; its threads only wait for each other."""
    with threadpool_limits(1):
        return KMeans(K, n_init=10, random_state=0).fit(rows, sample_weight=weights).inertia_


def draw(name, n):
    rng = np.random.default_rng(0)
    if name == "mixture":
        return (rng.choice([-3, 0, 1, 5], n) + 0.2 * rng.normal(size=n)).astype(np.float32)
    return getattr(rng, name)(size=n).astype(np.float32)


@pytest.mark.parametrize(("block", "K"), [(2, 16), (2, 64), (4, 16), (4, 64)])
def test_error_is_near_that_of_scikit_learn(block, K):
    for name in ["normal", "laplace", "mixture"]:
        values = draw(name, 9_600)
        centers = np.asarray(codebook.fit(values, K, block=block))
        assert centers.shape == (K, block)
        assert centers.tolist() == sorted(centers.tolist())
        oracle = least_of_ten(values.reshape(-1, block), K)
        assert distances(values, centers).min(axis=1).sum() <= 1.03 * oracle, name


def check_codes(centers, values, codes):
    d = distances(values, np.asarray(centers))
    taken = d[np.arange(len(codes)), np.asarray(codes).astype(int)]
    assert np.all(taken <= d.min(axis=1) * (1 + 1e-5))


@pytest.mark.parametrize("place", [1e2, 1e4, 1e7])
def test_digits_are_kept_beside_an_outlier(place):
    values = draw("normal", 2_000)
    alone = distances(values, np.asarray(codebook.fit(values, 16, block=2))).min(axis=1).sum()
    values[7] = place
    centers = codebook.fit(values, 16, block=2)
    check_codes(centers, values, codebook.encode(centers, values))
    # One codeword is the outlier's.
    assert distances(values, np.asarray(centers)).min(axis=1).sum() <= 1.15 * alone


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e18, 1e37])
def test_the_scale_of_the_values_does_not_matter(scale):
    values, scale = draw("normal", 2_000), np.float32(scale)
    scaled = codebook.fit(values * scale, 16, block=2)
    np.testing.assert_allclose(scaled / scale, codebook.fit(values, 16, block=2), atol=1e-3)
    check_codes(scaled / scale, values, codebook.encode(scaled, values * scale))


@pytest.mark.parametrize("n", [13, 1_201])
def test_codes_are_the_nearest_codewords(n):
    values = draw("normal", n)
    centers = codebook.fit(values, 8, block=3)
    codes = np.asarray(codebook.encode(centers, values))
    assert codes.dtype == np.uint8
    assert codes.shape == (-(-n // 3),)
    check_codes(centers, values, codes)
    decoded = np.asarray(codebook.decode(centers, codes))
    assert decoded.shape == (3 * len(codes),)
    np.testing.assert_array_equal(decoded.reshape(-1, 3), np.asarray(centers)[codes])
    for cut in (codebook.snap(centers, values), codebook.decode(centers, codes, size=n)):
        np.testing.assert_array_equal(cut, decoded[:n])


def test_of_equal_codewords_the_first_is_used():
    centers = jnp.array([[0.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    values = jnp.array([0.0, 0.9, 0.0, 1.1, 0.0, 5.0])
    assert codebook.encode(centers, values).tolist() == [0, 1, 1]


def test_what_the_last_block_lacks_does_not_count():
    values = np.array([1.0, 1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0], np.float32)
    centers = np.asarray(codebook.fit(values, 2, block=2))
    assert centers.tolist() == [[1.0, 1.0], [9.0, 9.0]]
    assert codebook.encode(jnp.array([[0.0, 9.0], [9.0, -9.0]]), values[4:]).tolist()[-1] == 1
    assert codebook.snap(centers, values).tolist() == values.tolist()


@pytest.mark.parametrize("distinct", [1, 3, 7])
@pytest.mark.parametrize("spread", [False, True])
def test_few_different_blocks_are_kept_exactly(distinct, spread):
    rng = np.random.default_rng(distinct)
    pool = (1000 + rng.normal(size=(distinct, 2))).astype(np.float32)
    if spread:  # narrow and far at once
        pool[::2] *= 1e-6
    values = pool[rng.integers(0, distinct, 500)].ravel()
    centers = np.asarray(codebook.fit(values, 7, block=2))
    assert sorted(set(map(tuple, centers))) == sorted(set(map(tuple, values.reshape(-1, 2))))
    np.testing.assert_array_equal(codebook.snap(centers, values), values)
    assert (centers[distinct:] == centers[distinct - 1]).all()


def test_weights_count_like_copies_and_zero_not_at_all():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 2)).astype(np.float32)
    copies = rng.integers(0, 4, 600)
    weights = np.repeat(copies, 2).astype(np.float32)
    centers = np.asarray(codebook.fit(rows.ravel(), 12, block=2, weights=weights))
    d = ((rows[:, None].astype(np.float64) - centers[None]) ** 2).sum(axis=2).min(axis=1)
    assert (d * copies).sum() <= 1.03 * least_of_ten(rows, 12, copies)


def test_if_no_value_has_weight_all_count_alike_and_what_is_lacking_does_not():
    values = np.array([1.0, 3.0, 2.0], np.float32)
    for weights in (None, np.zeros(3, np.float32)):
        centers = codebook.fit(values, 1, block=2, weights=weights)
        assert centers.tolist() == [[1.5, 3.0]]


def test_each_coordinate_has_its_own_weight():
    values = draw("laplace", 1_200)
    weights = np.random.default_rng(1).uniform(size=1_200).astype(np.float32)
    weights[::3] = 0
    centers = np.asarray(codebook.fit(values, 12, block=2, weights=weights), np.float64)
    x, w = values.reshape(-1, 2).astype(np.float64), weights.reshape(-1, 2).astype(np.float64)

    def assign(centers):
        d = (w[:, None] * (x[:, None] - centers) ** 2).sum(axis=2)
        return d.argmin(axis=1), d.min(axis=1).sum()

    # Lloyd's iteration in NumPy, gone on with from there, gains next to nothing.
    codes, error = assign(centers)
    member = codes == np.arange(12)[:, None]
    assert assign((member @ (w * x)) / (member @ w))[1] >= 0.995 * error


def test_a_start_is_gone_on_from():
    values = draw("normal", 2_000)
    good = codebook.fit(values, 16, block=2)
    again = codebook.fit(values, 16, block=2, init=good)
    before, after = (distances(values, np.asarray(c)).min(axis=1).sum() for c in (good, again))
    assert after <= before * (1 + 1e-6)
    assert np.abs(np.asarray(again - good)).max() < 0.5


def test_more_codewords_than_blocks_and_one_value():
    assert codebook.fit(jnp.array([3.0]), 2, block=4).shape == (2, 4)
    assert codebook.snap(codebook.fit(jnp.array([3.0]), 2, block=4), jnp.array([3.0])) == 3.0


def test_vmap_and_map_agree_with_a_loop():
    clients = np.random.default_rng(0).normal(size=(3, 2_000)).astype(np.float32)

    def coded(values):
        centers = codebook.fit(values, 16, block=2)
        return centers, codebook.encode(centers, values)

    loop = [coded(values) for values in clients]
    centers, codes = jax.jit(jax.vmap(coded))(clients)
    mapped, _ = jax.jit(lambda clients: jax.lax.map(coded, clients))(clients)
    for i, (c, k) in enumerate(loop):
        np.testing.assert_allclose(centers[i], c, atol=1e-5)
        np.testing.assert_allclose(mapped[i], c, atol=1e-5)
        assert np.mean(np.asarray(codes[i]) == np.asarray(k)) > 0.99


def test_union_keeps_all_codewords():
    codebooks = np.random.default_rng(0).normal(size=(4, 8, 2)).astype(np.float32)
    np.testing.assert_array_equal(codebook.union(codebooks), codebooks.reshape(32, 2))


def test_wrong_shapes_and_settings_are_named():
    with pytest.raises(ConfigError, match=r"algorithm\.block: 0"):
        codebook.fit(jnp.ones(4), 2, block=0)
    with pytest.raises(DataError, match="init must be"):
        codebook.fit(jnp.ones(4), 2, block=2, init=jnp.ones(2))
    with pytest.raises(DataError, match="blocks code values"):
        codebook.encode(jnp.ones((2, 2)), jnp.ones((2, 2)))
