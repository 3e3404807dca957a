import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcode_jax import wire
from fedcode_jax.wire import Coded, DecodeError, Dense, Kind, Message


def coded(rng, num_clusters, n):
    dtype = np.uint8 if num_clusters <= 256 else np.uint16
    return Coded(
        np.sort(rng.normal(size=num_clusters)).astype(np.float32),
        rng.integers(0, num_clusters, n).astype(dtype),
    )


def dense(rng, n, dtype="float32"):
    values = rng.normal(size=n).astype(dtype).astype(np.float32)
    return Dense(values, dtype)


def message(kind, *sections):
    return Message(np.int32(kind), sections)


def assert_equal(a, b):
    assert int(a.kind) == int(b.kind)
    assert len(a.sections) == len(b.sections)
    for x, y in zip(a.sections, b.sections, strict=True):
        assert type(x) is type(y)
        if isinstance(x, Coded):
            np.testing.assert_array_equal(x.centers, y.centers)
            np.testing.assert_array_equal(x.codes, y.codes)
            assert x.codes.dtype == y.codes.dtype
        else:
            np.testing.assert_array_equal(x.values, y.values)
            assert x.dtype == y.dtype


@st.composite
def messages(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sections = []
    for _ in range(draw(st.integers(0, 4))):
        n = draw(st.integers(0, 50))
        if draw(st.booleans()):
            sections.append(coded(rng, draw(st.sampled_from([1, 2, 3, 64, 255, 256, 257])), n))
        else:
            sections.append(dense(rng, n, draw(st.sampled_from(["float32", "float16"]))))
    return message(draw(st.sampled_from([Kind.CODEBOOK, Kind.WEIGHTS])), *sections)


@settings(max_examples=200, deadline=None)
@given(messages())
def test_round_trip_and_size(m):
    data = wire.encode(m)
    assert_equal(wire.decode(data), wire.sent(m))
    assert 8 * len(data) == int(wire.size_bits(m))


@pytest.mark.parametrize("num_clusters", [1, 2, 3, 256, 257, 65536])
@pytest.mark.parametrize("kind", [Kind.CODEBOOK, Kind.WEIGHTS])
def test_edge_numbers_of_centers(num_clusters, kind):
    m = message(kind, coded(np.random.default_rng(0), num_clusters, 1001))
    data = wire.encode(m)
    assert_equal(wire.decode(data), wire.sent(m))
    assert 8 * len(data) == int(wire.size_bits(m))


def test_bytes_are_as_specified():
    # Worked by hand from FORMAT.md: codes 2, 0, 1, 1 in two bits each, least significant first.
    m = message(
        Kind.WEIGHTS,
        Coded(np.float32([-1, 0, 2]), np.uint8([2, 0, 1, 1])),
        Dense(np.float32([0.5]), "float16"),
    )
    data = wire.encode(m)
    assert data[:5] == b"FJ\x01\x02\x02"
    headers = b"\x00\x02\x00\x04\x00\x00\x00" + b"\x02\x01\x00\x00\x00"
    centers = bytes.fromhex("000080bf 00000000 00000040")
    assert data[9:] == headers + centers + bytes([0b01_01_00_10]) + b"\x00\x38"


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
    import zlib

    prefix = b"FJ\x01" + bytes([kind, sections])
    return prefix + zlib.crc32(prefix + rest).to_bytes(4, "little") + rest


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (forge(2, 1, b"\x00\xff\xff\xff\xff\xff\xff"), "claim"),  # 2^32 codes of 65,536 centers
        (forge(2, 1, b"\x01\xff\xff\xff\xff"), "claim"),  # 2^32 floats
        (forge(1, 1, b"\x01\x00\x00\x00\x00"), "section of type 1 in a codebook"),
        (forge(2, 1, b"\x09"), "section of type 9"),
        (forge(2, 3, b""), "truncated"),
        (forge(3, 0, b""), "kind"),
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
        (b"FJ\x02\x02\x00\x00\x00\x00\x00", "version 2"),
    ],
)
def test_forged_and_foreign_bytes_are_refused(data, complaint):
    with pytest.raises(DecodeError, match=complaint):
        wire.decode(data)


def test_forged_count_of_zero_width_codes_costs_no_memory():
    data = forge(2, 1, b"\x00\x00\x00\xff\xff\xff\xff" + np.float32([1]).tobytes())
    codes = wire.decode(data).sections[0].codes
    assert codes.shape == (2**32 - 1,)
    assert codes.strides == (0,)


def test_random_bytes_raise_nothing_else():
    rng = np.random.default_rng(3)
    for _ in range(2000):
        data = rng.integers(0, 256, rng.integers(0, 60)).astype(np.uint8).tobytes()
        with pytest.raises(DecodeError):
            wire.decode(b"FJ\x01" + data)


def test_encode_refuses_codes_without_a_center():
    with pytest.raises(ValueError, match="code 3 with 3 centers"):
        wire.encode(message(Kind.WEIGHTS, Coded(np.zeros(3, np.float32), np.uint8([3]))))
