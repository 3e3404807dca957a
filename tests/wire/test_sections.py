"""Bits, levels and sparse sections: what they stand for, and how long they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rotations
from messages import (
    assert_equal,
    bits,
    coded,
    dense,
    levels,
    low_rank,
    message,
    random_message,
    sparse,
)

from fedcode_jax import wire
from fedcode_jax.wire import (
    Bits,
    Coded,
    Dense,
    Kind,
    Levels,
    LowRank,
    Message,
    Rotated,
    Sparse,
)


def by_hand(section, size=None):
    """The values of a section in plain NumPy."""
    if isinstance(section, Dense):
        return section.values
    if isinstance(section, Bits):
        if section.magnitude is None:
            return section.bits.astype(np.float32)
        return np.where(section.bits == 1, section.magnitude, -section.magnitude)
    if isinstance(section, Levels):
        parts = section.parts or (section.levels.size,)
        return np.repeat(section.scales, parts) * section.levels.astype(np.float32)
    if isinstance(section, Coded):
        return section.centers[section.codes].reshape(-1)[:size]
    if isinstance(section, LowRank):
        terms = [np.outer(p, q) for p, q in zip(section.left.T, section.right.T, strict=True)]
        return sum(terms[1:], terms[0]).reshape(-1)
    if isinstance(section, Rotated):
        return rotations.back(by_hand(section.values), section.seed, section.size)
    found = np.zeros(section.size, np.float32)
    found[section.positions] = by_hand(section.values, section.positions.size)
    return found


@pytest.mark.parametrize("seed", range(25))
def test_values_are_the_same_to_the_bit_under_jit_and_from_the_bytes(seed):
    m = random_message(np.random.default_rng(seed), 300)
    m = Message(np.int32(Kind.UPDATE), m.sections)
    received = wire.decode(wire.encode(m))
    for section, there in zip(m.sections, received.sections, strict=True):
        expected = np.asarray(by_hand(section), np.float32)
        for found in (wire.values(there), jax.jit(wire.values)(section)):
            np.testing.assert_array_equal(
                np.asarray(found).view(np.int32), expected.view(np.int32), strict=True
            )


def test_a_scaled_level_added_to_something_is_the_same_whether_or_not_it_is_fused():
    rng = np.random.default_rng(0)
    n = 200_000
    drawn = rng.integers(-127, 128, n).astype(np.int8)
    section = Levels.rounded(drawn, rng.exponential(size=50), 127, (n // 50,) * 50)
    held = rng.normal(size=n).astype(np.float32)
    fused = jax.jit(lambda held, section: held + wire.values(section))(held, section)
    there = wire.decode(wire.encode(message(Kind.UPDATE, section))).sections[0]
    np.testing.assert_array_equal(fused, held + by_hand(there))


@pytest.mark.parametrize("r", [1, 2, 7])
def test_a_matrix_of_low_rank_added_to_something_is_the_same_whether_or_not_it_is_fused(r):
    rng = np.random.default_rng(0)
    factors = (rng.normal(size=(400, r)), rng.lognormal(-60, 40, (300, r)))
    section = LowRank(*(wire.rounded_factor(np.float32(factor)) for factor in factors))
    held = rng.normal(size=400 * 300).astype(np.float32)
    fused = jax.jit(lambda held, section: held + wire.values(section))(held, section)
    there = wire.decode(wire.encode(message(Kind.UPDATE, section))).sections[0]
    assert 0 < np.count_nonzero(there.right) < there.right.size  # some are too small
    np.testing.assert_array_equal(fused, held + by_hand(there))


def test_rounded_factors_are_those_that_encode_takes():
    factors = np.float32([0, 1e-45, 1e-19, 1.1e-19, -0.1, 1, np.pi, -1.8e19, 1.9e19, 3.4e38])
    rounded = np.asarray(jax.jit(wire.rounded_factor)(factors))
    near = (abs(factors) > 1.1e-19) & (abs(factors) < 1.8e19)
    np.testing.assert_allclose(rounded[near], factors[near], rtol=2.0**-12)
    assert rounded[:3].tolist() == [0, 0, 0]
    assert (rounded[-2:] == (2 - 2.0**-11) * 2.0**63).all()
    wire.encode(message(Kind.WEIGHTS, LowRank(rounded[:, None], rounded[:, None])))
    assert np.isnan(wire.rounded_factor(jnp.float32(np.nan)))


def test_rounded_scales_are_those_that_encode_takes():
    scales = np.float32([0, 1e-45, 1e-38, 1.2e-38, 0.1, 1, np.pi, 3.4e38, np.finfo(np.float32).max])
    rounded = np.asarray(jax.jit(wire.rounded_scales)(scales))
    assert np.isfinite(rounded).all()
    near = scales > 2e-38
    np.testing.assert_allclose(rounded[near], scales[near], rtol=2.0**-15)
    n = scales.size
    wire.encode(message(Kind.WEIGHTS, Levels(np.ones(n, np.int8), rounded, 1, (1,) * n)))


@pytest.mark.parametrize("seed", range(40))
def test_sizes_inside_jit_are_those_of_the_bytes(seed):
    rng = np.random.default_rng(seed)
    m = random_message(rng, 500)
    real = len(wire.encode(m))
    counted = int(jax.jit(wire.size_bits)(m)) / 8
    entropy_coded = sum(
        wire.is_entropy_coded(Message(m.kind, (section,))) for section in m.sections
    )
    assert abs(counted - real) <= 4 * entropy_coded


DENSITIES = (0.001, 0.01, 0.03, 0.1, 0.2, 0.28, 0.382, 0.45, 0.5, 0.62, 0.75, 0.9)


@pytest.mark.parametrize("share", DENSITIES)
def test_positions_are_counted_exactly_and_near_their_entropy(share):
    # Rice codes know only powers of two; between b = 0 and b = 1 that costs most.
    tolerance = 0.045 if 0.35 < share < 0.65 else 0.025
    size = 300_000
    k = int(share * size)
    rng = np.random.default_rng(0)
    section = sparse(rng, k, size, Bits(np.ones(k, np.uint8)))
    m = message(Kind.UPDATE, section)
    real = len(wire.encode(m))
    assert int(jax.jit(wire.size_bits)(m)) == 8 * real
    entropy = -size * (share * np.log2(share) + (1 - share) * np.log2(1 - share)) / 8
    positions = real - 9 - 14 - 5 - -(-k // 8)
    assert positions <= (1 + tolerance) * entropy + 4


@pytest.mark.parametrize("size", [0, 1, 2, 9, 5000])
def test_none_and_all_positions(size):
    rng = np.random.default_rng(0)
    for k in {0, min(1, size), size // 2, max(0, size - 1), size}:
        for values in (dense(rng, k), bits(rng, k), coded(rng, 3, k, "adaptive")):
            m = message(Kind.WEIGHTS, sparse(rng, k, size, values))
            data = wire.encode(m)
            assert_equal(wire.decode(data), wire.sent(m))
            slack = 32 if isinstance(values, Coded) else 0
            assert abs(int(wire.size_bits(m)) - 8 * len(data)) <= slack
            assert np.count_nonzero(wire.values(m.sections[0])) <= k


def test_clustered_and_far_positions_are_counted_exactly():
    size = 2**31 - 1
    for places in ([0], [size - 1], [5, size - 2], range(1000), range(0, size, 2**21)):
        positions = np.array(places, np.int32)
        m = message(
            Kind.WEIGHTS, Sparse(positions, Dense(np.ones(len(positions), np.float32)), size)
        )
        data = wire.encode(m)
        assert_equal(wire.decode(data), wire.sent(m))
        assert int(wire.size_bits(m)) == 8 * len(data)


def test_everything_is_traceable_and_vmappable():
    rng = np.random.default_rng(1)
    rows = [
        Message(
            np.int32(kind),
            (
                sparse(rng, 40, 60, bits(np.random.default_rng(0), 40)),
                levels(rng, 50, coding="adaptive", parts=(20, 30)),
                coded(rng, 4, 30),
                low_rank(rng, 4, 5, 2),
            ),
        )
        for kind in Kind
    ]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    sizes = jax.jit(jax.vmap(wire.size_bits))(stacked)
    differences = [int(s) - 8 * len(wire.encode(m)) for s, m in zip(sizes, rows, strict=True)]
    assert max(map(abs, differences)) <= 32
    formula = 40 * 6 + 40 + 32 * (rows[0].sections[0].values.magnitude is not None)
    formula += 50 * 3 + 32 * 2 + 32 * 4 + 30 * 2 + 32 * 2 * (4 + 5)
    found = jax.jit(jax.vmap(wire.formula_bits))(stacked)
    assert found.tolist() == [0, 32 * 4, formula, formula]
    for i in range(4):
        every = jax.jit(jax.vmap(wire.values))(stacked.sections[i])
        np.testing.assert_array_equal(every[1], by_hand(rows[1].sections[i]))


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("arrived", [True, False])
def test_only_what_reaches_the_receiver_is_carried_even_if_the_rest_is_nan(kind, arrived):
    rng = np.random.default_rng(0)
    nans = Dense(np.full(5, np.nan, np.float32))
    always = Dense(np.full(5, np.nan, np.float32), always=True)
    new = sparse(rng, 5, 9, nans), Bits(np.ones(3, np.uint8), np.float32(np.nan))
    new += (LowRank(np.full((3, 1), np.nan, np.float32), np.ones((2, 1), np.float32)),)
    m = Message(kind, (coded(rng, 4, 9), nans, always, levels(rng, 4), *new))
    carry = jax.jit(wire.only_carried)
    found = jax.tree.map(lambda x: x[0], jax.vmap(carry)(
        jax.tree.map(lambda x: jnp.asarray(x)[None], m), jnp.array([arrived])
    ))  # fmt: skip
    assert int(found.kind) == (kind if arrived else Kind.NOTHING)
    codebook, everything = arrived and kind >= 1, arrived and kind >= 2
    there = [(everything,)] * 7
    there[0], there[2] = (codebook, everything), (codebook,)
    for before, after, flags in zip(m.sections, found.sections, there, strict=True):
        leaves = jax.tree.leaves(before), jax.tree.leaves(after)
        flags = flags * (len(leaves[0]) if len(flags) == 1 else 1)
        for a, b, flag in zip(*leaves, flags, strict=True):
            np.testing.assert_array_equal(b, a if flag else np.zeros_like(a))
    # Whatever a receiver can tell from the bytes, it can tell from what is carried.
    if arrived and kind == Kind.UPDATE:
        assert_equal(wire.sent(found), wire.sent(Message(np.int32(kind), m.sections)))


def test_new_sections_and_updates_tell_nothing_about_codes():
    rng = np.random.default_rng(0)
    sections = (coded(rng, 4, 9), levels(rng, 4), sparse(rng, 5, 9, coded(rng, 4, 5)), bits(rng, 3))
    sections += (low_rank(rng, 3, 4, 2),)
    known = wire.reference(message(Kind.WEIGHTS, *sections))
    assert known.sections[0].codes.size == 9
    assert all(leaf.size == 0 for leaf in jax.tree.leaves(known.sections[1:]))
    other = (coded(rng, 4, 9), *sections[1:])
    for kind, new in [(Kind.UPDATE, False), (Kind.WEIGHTS, True)]:
        after = jax.jit(wire.remember)(known, message(kind, *other))
        expected = other[0] if new else sections[0]
        np.testing.assert_array_equal(after.sections[0].codes, expected.codes)


def test_updates_are_as_long_as_weights():
    m = random_message(np.random.default_rng(3), 200)
    a, b = (wire.encode(Message(np.int32(k), m.sections)) for k in (Kind.WEIGHTS, Kind.UPDATE))
    assert (a[9:], a[3], b[3]) == (b[9:], 2, 3)
    assert int(wire.decode(b).kind) == Kind.UPDATE


def test_conditional_codes_in_a_sparse_section_are_refused():
    rng = np.random.default_rng(0)
    m = message(Kind.WEIGHTS, sparse(rng, 5, 9, coded(rng, 4, 5, "conditional")))
    for function in (wire.encode, wire.size_bits):
        with pytest.raises(ValueError, match="conditional codes in a sparse section"):
            function(m)
