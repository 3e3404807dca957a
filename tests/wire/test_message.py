import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import wire
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Coded, Dense, Kind, Message


def test_sizes_are_traceable_and_vmappable_over_kinds():
    sections = (Coded(jnp.zeros(64), jnp.zeros(6032, jnp.uint8)), Dense(jnp.zeros(58)))

    @jax.jit
    def sizes(kinds):
        return jax.vmap(lambda kind: wire.size_bits(Message(kind, sections)))(kinds)

    found = sizes(jnp.array([Kind.NOTHING, Kind.CODEBOOK, Kind.WEIGHTS], jnp.int32))
    # 9 + 3 + 256, and 9 + 7 + 5 + 256 + 6032 * 6 / 8 + 58 * 4
    assert found.tolist() == [0, 8 * 268, 8 * 5033]


def test_formula_is_the_published_one():
    everything = Message(
        jnp.int32(Kind.WEIGHTS), (Coded(jnp.zeros(64), jnp.zeros(6090, jnp.uint8)),)
    )
    assert int(wire.formula_bits(everything)) == 6090 * 6 + 32 * 64


def test_formula_reduction_of_the_paper_schedule():
    # REFERENCE: d = 2,332,067, K = 64, 100 rounds, start 2, f1 = 5, f2 = 2: 14.6x two-way.
    from fedcode_jax import schedules

    d, rounds = 2_332_067, 100
    coded = Coded(jax.ShapeDtypeStruct((64,), jnp.float32), jax.ShapeDtypeStruct((d,), jnp.uint8))
    bits = {kind: int(wire.formula_bits(Message(jnp.int32(kind), (coded,)))) for kind in Kind}
    schedule = schedules.periodic()
    total = 0
    for t in range(1, rounds + 1):
        for weights in schedule(t):
            total += bits[Kind.WEIGHTS if bool(weights) else Kind.CODEBOOK]
    assert 2 * rounds * 32 * d / total == pytest.approx(14.6, abs=0.05)


def test_addressed_upgrades_first_contact_only():
    message = Message(jnp.int32(Kind.CODEBOOK), ())
    kinds = jax.vmap(lambda first: wire.addressed(message, first).kind)(jnp.array([True, False]))
    assert kinds.tolist() == [Kind.WEIGHTS, Kind.CODEBOOK]


@pytest.mark.parametrize("dtype", list(wire.FLOAT_TYPES))
def test_floats_that_are_always_sent_are_in_codebook_messages_too(dtype):
    width = wire.FLOAT_TYPES[dtype].itemsize
    coded = Coded(np.zeros(4, np.float32), np.zeros(100, np.uint8))
    note = Dense.rounded(jnp.arange(6.0), dtype)
    note = Dense(note.values, dtype, always=True)
    sections = (Dense(np.ones(50, np.float32)), note, coded)
    codebook, weights = 9 + (5 + 6 * width) + (3 + 16), 9 + (5 + 200) + (5 + 6 * width) + (7 + 41)
    lengths = {
        Kind.NOTHING: 0,
        Kind.CODEBOOK: codebook,
        Kind.WEIGHTS: weights,
        Kind.UPDATE: weights,
    }
    for kind, size in lengths.items():
        message = Message(np.int32(kind), sections)
        data = wire.encode(message)
        assert len(data) == int(wire.size_bits(message)) // 8 == size
        # As published, a float counts 32 bits.
        formula = {Kind.NOTHING: 0, Kind.CODEBOOK: 32 * 10}.get(kind, 32 * 60 + 200)
        assert int(wire.formula_bits(message)) == formula
        if kind == Kind.NOTHING:
            assert wire.sent(message).sections == ()
            continue
        found = wire.decode(data)
        notes = [s for s in found.sections if isinstance(s, Dense) and s.always]
        assert len(found.sections) == (3 if wire.carries_values(kind) else 2)
        assert [(n.dtype, n.values.tolist()) for n in notes] == [(dtype, note.values.tolist())]
    kinds = jnp.array(list(Kind), jnp.int32)
    sizes = jax.jit(jax.vmap(lambda kind: wire.size_bits(Message(kind, sections))))(kinds)
    assert sizes.tolist() == [0, 8 * codebook, 8 * weights, 8 * weights]


def test_bfloat16_keeps_the_range_and_three_digits():
    values = jnp.array([0.1, 1e30, -3.4e38, 65504.0])
    section = Dense.rounded(values, "bfloat16")
    received = wire.decode(wire.encode(Message(np.int32(Kind.WEIGHTS), (section,)))).sections[0]
    np.testing.assert_array_equal(received.values, section.values)
    np.testing.assert_allclose(received.values, values, rtol=2**-8)


def test_half_floats_are_rounded_before_they_are_sent_and_stay_finite():
    values = jnp.array([0.1, 1e6, -1e6, 65504.0])
    section = Dense.rounded(values, "float16")
    received = wire.decode(wire.encode(Message(np.int32(Kind.WEIGHTS), (section,)))).sections[0]
    np.testing.assert_array_equal(received.values, section.values)
    np.testing.assert_array_equal(
        received.values, np.float32([np.float16(0.1), 65504, -65504, 65504])
    )


def test_a_size_that_does_not_fit_its_count_is_an_error():
    huge = Dense(jax.ShapeDtypeStruct((2**27,), jnp.float32))
    with pytest.raises(ConfigError, match="2\\^32"):
        wire.size_bits(Message(jnp.int32(Kind.WEIGHTS), (huge,)))
