"""encode, decode, snap and union against plain NumPy."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcode_jax import codebook
from fedcode_jax.errors import DataError


@pytest.mark.parametrize("K", [1, 2, 3, 64, 255, 256, 257, 1000])
def test_encode_is_the_nearest_center(K):
    rng = np.random.default_rng(K)
    centers = np.sort(rng.standard_t(3, K)).astype(np.float32)
    values = rng.standard_t(3, 3000).astype(np.float32)
    codes = codebook.encode(centers, values)
    assert codes.dtype == (jnp.uint8 if K <= 256 else jnp.uint16)
    distance = np.abs(values.astype(np.float64)[:, None] - centers.astype(np.float64))
    assert np.asarray(codes).tolist() == distance.argmin(axis=1).tolist()


def test_ties_go_to_the_lower_center():
    centers = jnp.array([-2.0, 0.0, 1.0, 1.0, 4.0])
    values = jnp.array([-1.0, 0.5, 1.0, 2.5, 2.6, -0.99, 1.7, 9.0])
    assert np.asarray(codebook.encode(centers, values)).tolist() == [0, 1, 2, 2, 4, 1, 2, 4]
    assert np.asarray(codebook.encode(jnp.ones(5), values)).tolist() == [0] * 8


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False).filter(
    lambda x: x == 0 or abs(x) > 1e-36
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    centers=st.lists(numbers, min_size=6, max_size=6).map(sorted),
    value=numbers,
    steps=st.integers(-2, 2),
    gap=st.integers(0, 4),
)
def test_encode_rounds_nothing(centers, value, steps, gap):
    c = np.array(centers, np.float32)
    # Around the midpoint of two centers, where rounding would show.
    near = np.float32(c[gap] / 2 + c[gap + 1] / 2)
    for _ in range(abs(steps)):
        near = np.nextafter(near, np.float32(np.copysign(np.finfo(np.float32).max, steps)))
    if 0 < abs(near) < 1e-36:  # subnormal numbers count as zero in XLA
        near = np.float32(0)
    values = np.array([value, near], np.float32)
    expected = [
        min(range(6), key=lambda j: (abs(Fraction(float(v)) - Fraction(float(c[j]))), j))
        for v in values
    ]
    assert np.asarray(codebook.encode(c, values)).tolist() == expected


def test_values_beyond_the_finite():
    centers = jnp.array([0.0, 1.0])
    values = jnp.array([-jnp.inf, jnp.inf, jnp.nan])
    assert np.asarray(codebook.encode(centers, values)).tolist() == [0, 1, 0]


def test_snap_is_decode_of_encode_and_idempotent():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 50)).astype(np.float32)
    centers = codebook.fit(values.ravel(), 20)
    snapped = codebook.snap(centers, values)
    decoded = codebook.decode(centers, codebook.encode(centers, values))
    assert snapped.shape == values.shape
    assert np.array_equal(snapped, decoded)
    assert np.array_equal(codebook.snap(centers, snapped), snapped)


def test_under_vmap_and_jit():
    rng = np.random.default_rng(0)
    centers = np.sort(rng.normal(size=(3, 17)), axis=1).astype(np.float32)
    values = rng.normal(size=(3, 1000)).astype(np.float32)
    loop = np.stack([codebook.encode(c, v) for c, v in zip(centers, values, strict=True)])
    assert np.array_equal(jax.jit(jax.vmap(codebook.encode))(centers, values), loop)
    assert np.array_equal(
        jax.lax.map(lambda a: codebook.encode(*a), (jnp.asarray(centers), jnp.asarray(values))),
        loop,
    )


def test_union_is_sorted_and_keeps_all():
    codebooks = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    joined = np.asarray(codebook.union(codebooks))
    assert joined.tolist() == sorted(codebooks.ravel().tolist())


@pytest.mark.parametrize("shape", [(0,), (2, 2, 2), (65537,), (0, 2)])
def test_centers_of_a_wrong_shape(shape):
    with pytest.raises(DataError, match="centers"):
        codebook.encode(jnp.zeros(shape), jnp.ones(3))


def test_decode_gives_as_many_values_as_asked_for():
    codes = jnp.array([1, 0, 1], jnp.uint8)
    scalars, pairs = jnp.array([0.5, 2.0]), jnp.array([[0.0, 1.0], [2.0, 3.0]])
    assert codebook.decode(scalars, codes, 2).tolist() == [2.0, 0.5]
    assert codebook.decode(pairs, codes, size=5).tolist() == [2.0, 3.0, 0.0, 1.0, 2.0]
    assert codebook.decode(pairs, codes).tolist() == [2.0, 3.0, 0.0, 1.0, 2.0, 3.0]
    assert codebook.decode(pairs, codes, 0).shape == (0,)
    for size in (7, -1):
        with pytest.raises(DataError, match=f"size {size}"):
            codebook.decode(pairs, codes, size)
    with pytest.raises(DataError, match="need codes"):
        codebook.decode(pairs, codes[None])


def test_limits_take_the_place_of_the_middles():
    centers, values = jnp.array([0.0, 1.0, 3.0]), jnp.array([-9.0, 0.2, 0.3, 0.9, 2.9, 99.0])
    limits = jnp.array([0.2, 2.9])
    codes = codebook.encode(centers, values, limits=limits)
    assert codes.tolist() == np.searchsorted(limits, values, side="left").tolist()
    # What is not in use is not reached.
    ended = codebook.encode(centers, values, limits=jnp.array([0.2, jnp.inf]))
    assert ended.tolist() == [0, 0, 1, 1, 1, 1]
