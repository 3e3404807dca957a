import numpy as np
import pytest
from fuzz import fuzz, with_checksum
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import assert_equal, coded, dense, earlier, message, random_message

from fedcode_jax import wire
from fedcode_jax.wire import Coded, DecodeError, Dense, Kind


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), most_codes=st.sampled_from([0, 1, 50, 3000]))
def test_round_trip(seed, most_codes):
    rng = np.random.default_rng(seed)
    m = random_message(rng, most_codes)
    assert_equal(wire.decode(wire.encode(m)), wire.sent(m))
    known = earlier(rng, m)
    data = wire.encode(m, given=known)
    assert_equal(wire.decode(data, given=known), wire.sent(m, given=known))


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("coding", wire.CODINGS)
@pytest.mark.parametrize("num_clusters", [1, 2, 3, 256, 257, 65536])
@pytest.mark.parametrize("kind", [Kind.CODEBOOK, Kind.WEIGHTS])
def test_edge_numbers_of_centers(num_clusters, kind, coding, block):
    rng = np.random.default_rng(0)
    m = message(kind, coded(rng, num_clusters, 1001, coding, block))
    known = earlier(rng, m)
    data = wire.encode(m, given=known)
    assert_equal(wire.decode(data, given=known), wire.sent(m, given=known))


def test_bytes_are_as_specified():
    # Worked by hand from FORMAT.md: codes 2, 0, 1, 1 in two bits each, least significant first.
    m = message(
        Kind.WEIGHTS,
        Coded(np.float32([-1, 0, 2]), np.uint8([2, 0, 1, 1])),
        Dense(np.float32([0.5]), "float16"),
    )
    data = wire.encode(m)
    assert data[:5] == b"FJ\x03\x02\x02"
    headers = b"\x00\x02\x00\x04\x00\x00\x00" + b"\x02\x01\x00\x00\x00"
    centers = bytes.fromhex("000080bf 00000000 00000040")
    assert data[9:] == headers + centers + bytes([0b01_01_00_10]) + b"\x00\x38"


def test_the_bytes_of_floats_that_are_always_sent_are_as_specified():
    sections = Dense(np.float32([0.5]), "float16", always=True), Dense(np.float32([2]))
    data = wire.encode(message(Kind.CODEBOOK, *sections))
    assert data[:5] == b"FJ\x03\x01\x01"
    assert data[9:] == b"\x42\x01\x00\x00\x00" + b"\x00\x38"
    data = wire.encode(message(Kind.WEIGHTS, *sections))
    headers = b"\x42\x01\x00\x00\x00" + b"\x01\x01\x00\x00\x00"
    assert data[9:] == headers + b"\x00\x38" + bytes.fromhex("00000040")


def test_nothing_has_no_bytes():
    m = message(Kind.NOTHING, coded(np.random.default_rng(0), 4, 10))
    assert wire.encode(m) == b""
    assert int(wire.size_bits(m)) == int(wire.formula_bits(m)) == 0
    with pytest.raises(DecodeError, match="truncated"):
        wire.decode(b"")


def test_every_truncation_and_extension_is_refused():
    rng = np.random.default_rng(1)
    data = wire.encode(message(Kind.WEIGHTS, coded(rng, 5, 20), dense(rng, 3)))
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            wire.decode(data[:end])
    with pytest.raises(DecodeError):
        wire.decode(data + b"\x00")


def test_every_flipped_bit_is_refused():
    rng = np.random.default_rng(2)
    data = wire.encode(message(Kind.WEIGHTS, coded(rng, 5, 20), dense(rng, 3)))
    for position in range(8 * len(data)):
        mutated = bytearray(data)
        mutated[position // 8] ^= 1 << position % 8
        with pytest.raises(DecodeError):
            wire.decode(bytes(mutated))


def forge(kind, sections, rest):
    """Bytes with a valid checksum, whatever they claim."""
    return with_checksum(b"FJ\x03" + bytes([kind, sections]) + bytes(4) + rest)


ONE_CENTER = np.float32([1]).tobytes()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (forge(2, 1, b"\x00\xff\xff\xff\xff\xff\xff"), "claim"),  # 2^32 codes of 65,536 centers
        (forge(2, 1, b"\x01\xff\xff\xff\xff"), "claim"),  # 2^32 floats
        (forge(1, 1, b"\x01\x00\x00\x00\x00"), "section of type 1 in a codebook"),
        (forge(2, 1, b"\x09"), "section of type 9"),
        # "always" belongs to floats alone, and does not go with blocks
        (forge(1, 1, b"\x40\x00\x00" + ONE_CENTER), "section of type 64"),
        (forge(2, 1, b"\x44\0\0\0\0" + ONE_CENTER), "section of type 68"),
        (forge(2, 1, b"\xc1\0\0\0\0"), "section of type 193"),
        (forge(1, 1, b"\x41\xff\xff\xff\xff"), "claim"),
        (forge(2, 3, b""), "truncated"),
        (forge(4, 0, b""), "kind"),
        (forge(0, 0, b""), "kind"),
        (forge(1, 1, b"\x00\x01\x00" + np.float32([2, 1]).tobytes()), "ascending"),
        # three centers, one code of value 3; then a set padding bit
        (
            forge(
                2, 1, b"\x00\x02\x00\x01\x00\x00\x00" + np.float32([0, 1, 2]).tobytes() + b"\x03"
            ),
            "code 3",
        ),
        (
            forge(
                2, 1, b"\x00\x02\x00\x01\x00\x00\x00" + np.float32([0, 1, 2]).tobytes() + b"\x80"
            ),
            "padding",
        ),
        (b"PK\x03\x04 something else entirely", "not a message"),
        (b"FJ\x01\x02\x00\x00\x00\x00\x00", "version 1"),
        # 2^32 codes in a payload of four bytes
        (forge(2, 1, b"\x04\0\0\0\0" + b"\xff" * 4 + b"\x04\0\0\0"), "payload of 4"),
        # a payload of no whole number of words
        (forge(2, 1, b"\x05\0\0\0\0" + b"\x01\0\0\0\x03\0\0\0\0\0"), "payload of 3"),
        # two centers sent of one; codebooks of 65,536 blocks of 256 values
        (forge(1, 1, b"\x04\0\0\x01\0" + 2 * ONE_CENTER), "2 centers used of 1"),
        (forge(1, 1, b"\x84\xff\xff\xff\0\0" + ONE_CENTER), "65536 centers of 256"),
        (forge(1, 1, b"\x80\0\0\0" + ONE_CENTER), "hold one value"),
        # a table with nothing in it, or beyond its levels
        (
            forge(2, 1, b"\x04\0\0\0\0\x01\0\0\0\x04\0\0\0" + ONE_CENTER + bytes(5)),
            "table of frequencies",
        ),
        (
            forge(2, 1, b"\x04\0\0\0\0\x01\0\0\0\x04\0\0\0" + ONE_CENTER + b"\x72" + bytes(4)),
            "table of frequencies",
        ),
        # two layers that do not add up
        (
            forge(
                2,
                1,
                b"\x05\0\0\0\0\x03\0\0\0\x04\0\0\0"
                + b"\x02\0\x01\0\0\0\x01\0\0\0"
                + ONE_CENTER
                + bytes(4),
            ),
            "2 layers of 2 codes",
        ),
    ],
)
def test_forged_and_foreign_bytes_are_refused(data, complaint):
    with pytest.raises(DecodeError, match=complaint):
        wire.decode(data)


def test_forged_count_of_zero_width_codes_costs_no_memory():
    data = forge(2, 1, b"\x00\x00\x00\xff\xff\xff\xff" + ONE_CENTER)
    codes = wire.decode(data).sections[0].codes
    assert codes.shape == (2**32 - 1,)
    assert codes.strides == (0,)


def test_random_bytes_raise_nothing_else():
    rng = np.random.default_rng(3)
    for _ in range(2000):
        data = rng.integers(0, 256, rng.integers(0, 60)).astype(np.uint8).tobytes()
        with pytest.raises(DecodeError):
            wire.decode(b"FJ\x03" + data)


def test_encode_refuses_codes_without_a_center():
    with pytest.raises(ValueError, match="code 3 with 3 centers"):
        wire.encode(message(Kind.WEIGHTS, Coded(np.zeros(3, np.float32), np.uint8([3]))))


def test_a_conditional_message_is_refused_without_what_it_was_coded_given():
    rng = np.random.default_rng(4)
    m = message(Kind.WEIGHTS, coded(rng, 16, 500, "conditional"))
    known = earlier(rng, m)
    data = wire.encode(m, given=known)
    assert len(data) < 0.8 * len(wire.encode(m))
    with pytest.raises(DecodeError, match="pass it as given"):
        wire.decode(data)
    with pytest.raises(DecodeError, match="another message"):
        wire.decode(data, given=earlier(rng, m))
    nothing = message(Kind.CODEBOOK, *known.sections)
    assert wire.decode(wire.encode(m, given=nothing)).sections[0].coding == "adaptive"


def test_half_floats_keep_their_bits():
    for dtype in ("float16", "bfloat16"):
        values = np.float32([1.5, -(2.0**-14), 0.0, 3.0])
        data = wire.encode(message(Kind.WEIGHTS, Dense(values, dtype)))
        assert len(data) == 9 + 5 + 8
        assert wire.decode(data).sections[0].values.tolist() == values.tolist()


def test_mutated_bytes_give_a_message_or_a_decode_error():
    outcomes, _ = fuzz(seed=1, count=1500)
    assert outcomes["refused"] > 500
    assert outcomes["valid"] > 20


def test_a_forged_count_costs_time_and_memory_in_proportion_to_the_bytes():
    payload = b"\xff" * 64
    header = b"\x05\x03\0\x03\0" + (64 * 2**12).to_bytes(4, "little") + b"\x40\0\0\0\0\0"
    data = forge(2, 1, header + np.float32([0, 1, 2, 3]).tobytes() + payload)
    try:
        found = wire.decode(data).sections[0].codes
    except DecodeError:
        return
    assert found.nbytes == 64 * 2**12
