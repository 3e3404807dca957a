"""What encode writes decode reads, and what decode reads a writer could have written."""

import struct
import tracemalloc

import jax
import numpy as np
import pytest
from fuzz import with_checksum
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import assert_equal, bits, coded, levels, message, random_message, sparse

from fedcode_jax import wire
from fedcode_jax.wire import (
    Bits,
    Coded,
    DecodeError,
    Dense,
    Kind,
    Levels,
    LowRank,
    Message,
    Rotated,
    Sparse,
)
from fedcode_jax.wire.probabilities import ADAPTIVE_GROWTH, block_ends

ODD = [np.nan, np.inf, -np.inf, -1.0, 0.0, -0.0, 1e-40, 3e38, 1e5]


def spoilt(rng, leaf):
    """An array in which something may be wrong: its values, its order, its shape, its type."""
    leaf = np.array(leaf)
    action = rng.integers(0, 6)
    if action == 0 and leaf.size:
        odd = float(rng.choice(ODD)) if leaf.dtype.kind == "f" else int(rng.integers(-3, 300))
        with np.errstate(all="ignore"):
            leaf.flat[rng.integers(0, leaf.size)] = np.array(odd).astype(leaf.dtype)
    elif action == 1 and leaf.ndim:
        leaf = leaf[::-1].copy()
    elif action == 2 and leaf.ndim:
        leaf = leaf[: rng.integers(0, len(leaf) + 1)]
    elif action == 3:
        leaf = leaf[None]
    elif action == 4:
        leaf = leaf.astype(rng.choice([np.int64, np.float64, np.uint8, np.uint16, np.int32]))
    elif action == 5 and leaf.ndim:
        leaf = np.concatenate([leaf, leaf])
    return leaf


def spoil(rng, m):
    """A message of which one section may be wrong in one or two arrays."""
    sections = list(m.sections)
    place = int(rng.integers(0, len(sections)))
    leaves, structure = jax.tree.flatten(sections[place])
    for _ in range(rng.integers(1, 3)):
        i = int(rng.integers(0, len(leaves)))
        with np.errstate(all="ignore"):
            leaves[i] = spoilt(rng, leaves[i])
    sections[place] = jax.tree.unflatten(structure, leaves)
    return Message(m.kind, tuple(sections))


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), most_codes=st.sampled_from([1, 30, 300]))
def test_what_encode_does_not_refuse_decode_gives_back(seed, most_codes):
    rng = np.random.default_rng(seed)
    m = random_message(rng, most_codes)
    if not m.sections:
        return
    m = spoil(rng, m)
    try:
        data = wire.encode(m)
    except ValueError:
        return
    found, expected = wire.decode(data), wire.sent(m)
    assert [type(s) for s in found.sections] == [type(s) for s in expected.sections]
    assert wire.encode(found) == data
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


ONE = np.zeros(1, np.uint8)
UNIT = np.ones((1, 1), np.float32)
TOO_MANY_PARTS = np.ones(2**16, np.float32), 1, (0,) * (2**16 - 1) + (1,)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        (Coded(np.float32([0, np.nan]), ONE), "not finite"),
        (Coded(np.float32([np.nan]), ONE), "not finite"),
        (Coded(np.float32([0, np.inf]), ONE), "not finite"),
        (Coded(np.full((2, 2), np.nan, np.float32), ONE), "not finite"),
        (Coded(np.float32([1, 0]), ONE), "not ascending"),
        (Coded(np.zeros(0, np.float32), ONE[:0]), "0 centers"),
        (Coded(np.zeros((2, 1), np.float32), ONE), "blocks of 2"),
        (Coded(np.zeros(2, np.float32), ONE.astype(np.int32)), "codes of int32"),
        (Coded(np.zeros(2, np.float32), ONE, "adaptive", (3, -2)), "layers"),
        (Coded(np.zeros(2, np.float32), ONE, "morse"), "morse"),
        (Dense(np.float32([0.1]), "float16"), "does not hold"),
        (Dense(np.float32([1e6]), "float16"), "does not hold"),
        (Dense(np.float64([0.1])), "not float32"),
        (Bits(np.uint8([2])), "0 or 1"),
        (Bits(ONE, np.float32(np.nan)), "magnitude"),
        (Bits(ONE, np.float32(-1)), "magnitude"),
        (Levels(np.int8([2]), np.ones(1, np.float32), 1), "beyond 1"),
        (Levels(np.int8([-128]), np.ones(1, np.float32), 127), "beyond 127"),
        (Levels(np.int8([1]), np.ones(1, np.float32), 0), "up to 0"),
        (Levels(np.int8([1]), np.float32([0.1]), 1), "rounded"),
        (Levels(np.int8([1]), np.float32([np.inf]), 1), "rounded"),
        (Levels(np.int8([1]), np.float32([-1]), 1), "rounded"),
        (Levels(np.int8([1]), np.float32([1e-40]), 1), "rounded"),
        (Levels(np.int8([1]), np.ones(2, np.float32), 1, (1, 1)), "2 parts of 2"),
        (Levels(np.int8([1]), np.ones(2, np.float32), 1), "scales"),
        (Levels(np.int8([1, 1]), np.ones(1, np.float32), 1, (1, 1)), "scales"),
        (Levels(np.ones(1, np.int8), *TOO_MANY_PARTS), "65536 parts of different sizes"),
        (Levels(np.int8([1]), np.ones(1, np.float32), 1, (), "conditional"), "conditional"),
        (Sparse(np.int32([1, 1]), Bits(np.uint8([0, 1])), 4), "ascend"),
        (Sparse(np.int32([2, 1]), Bits(np.uint8([0, 1])), 4), "ascend"),
        (Sparse(np.int32([1, 4]), Bits(np.uint8([0, 1])), 4), "of 4"),
        (Sparse(np.int32([-1]), Bits(ONE), 4), "of 4"),
        (Sparse(np.int32([1]), Bits(np.uint8([0, 1])), 4), "2 values"),
        (Sparse(np.int32([1]), Coded(np.float32([0]), np.zeros(2, np.uint8)), 4), "2 values"),
        (Sparse(np.int32([1]), Levels(np.int8([1]), np.ones(1, np.float32), 1), 4), "Levels"),
        (Rotated(Bits(np.uint8([1, 1])), np.uint32(0), 1), "2 values"),
        (Rotated(Coded(np.zeros((1, 2), np.float32), ONE), np.uint32(0), 0), "1 values or blocks"),
        (Rotated(Bits(ONE), np.int32(0), 1), "seed"),
        (Rotated(Bits(ONE), np.uint32(0), 2**31), "seed"),
        (Rotated(Dense(np.ones(1, np.float32)), np.uint32(0), 1), "rotated section with values"),
        (
            Rotated(Coded(np.zeros(1, np.float32), ONE, "conditional"), np.uint32(0), 1),
            "conditional",
        ),
        (LowRank(UNIT, UNIT * np.float32(1 + 2**-12)), "rounded"),
        (LowRank(UNIT, UNIT * np.float32(2**-64)), "rounded"),
        (LowRank(UNIT * np.float32(2**64), UNIT), "rounded"),
        (LowRank(UNIT * np.float32(np.nan), UNIT), "rounded"),
        (LowRank(UNIT, np.ones((1, 2), np.float32)), "two matrices of r columns"),
        (LowRank(UNIT[0], UNIT), "two matrices of r columns"),
        (LowRank(UNIT[:, :0], UNIT[:, :0]), "rank 0"),
        (
            LowRank(np.ones((2**16, 1), np.float32), np.ones((2**15, 1), np.float32)),
            "65536 x 32768",
        ),
    ],
)
def test_encode_says_what_is_wrong(section, complaint):
    with pytest.raises(ValueError, match=complaint):
        wire.encode(message(Kind.WEIGHTS, section))


def forge(kind, *parts):
    return with_checksum(b"FJ\x03" + bytes([kind, 1]) + bytes(4) + b"".join(parts))


def coded_head(section_type, K, n, payload, layers=b""):
    return struct.pack("<BHHII", section_type, K - 1, K - 1, n, payload) + layers


CENTERS = np.float32([0, 1, 2]).tobytes()


@pytest.mark.parametrize("coding", wire.CODINGS[1:3])
@pytest.mark.parametrize("n", [0, 1, 5, 10, 500])
@pytest.mark.parametrize("junk", [b"\0" * 4, b"abcd", b"abcd" * 100, b"\xff" * 400_000])
def test_a_payload_with_anything_after_it_is_refused(coding, n, junk):
    section = coded(np.random.default_rng(0), 3, n, coding)
    data = wire.encode(message(Kind.WEIGHTS, section))
    place = 9 + 1 + 2 + 2 + 4
    (payload,) = struct.unpack("<I", data[place : place + 4])
    longer = struct.pack("<I", payload + len(junk))
    with pytest.raises(DecodeError):
        wire.decode(with_checksum(data[:place] + longer + data[place + 4 :] + junk))


@pytest.mark.parametrize("seed", range(30))
def test_every_other_payload_is_refused_or_is_that_of_other_codes(seed):
    rng = np.random.default_rng(seed)
    coding = str(rng.choice(["entropy", "adaptive"]))
    parts = {"parts": (10, 90)} if seed % 2 else {}
    section = levels(rng, 100, 2, coding, **parts)
    data = wire.encode(message(Kind.WEIGHTS, section))
    for position in range(len(data) - 12, len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(0, 8))
        changed = with_checksum(bytes(changed))
        try:
            found = wire.decode(changed)
        except DecodeError:
            continue
        if coding == "adaptive":  # another writer's table is as good as ours
            assert wire.encode(found) == changed


def levels_head(section_type, n, *sizes):
    return struct.pack(f"<BIBH{len(sizes)}I", section_type, n, 1, len(sizes), *sizes)


@pytest.mark.parametrize("coding", ["fixed", "entropy", "adaptive"])
@pytest.mark.parametrize("parts", [(4, 4, 4), (5, 5, 2), (11, 1), (1,) * 12])
def test_equal_parts_may_be_said_one_by_one_too(parts, coding):
    m = message(Kind.WEIGHTS, levels(np.random.default_rng(0), 12, coding=coding, parts=parts))
    data, place = wire.encode(m), 9 + 6
    assert struct.unpack_from("<HI", data, place) == (1, parts[0])
    each = struct.pack(f"<H{len(parts)}I", len(parts), *parts)
    assert_equal(wire.decode(with_checksum(data[:place] + each + data[place + 6 :])), m)
    assert_equal(wire.decode(data), m)


@pytest.mark.parametrize(
    ("n", "sizes", "complaint"),
    [
        (4, (0,), "parts of 0 of 4 levels"),
        (4, (4,), "parts of 4 of 4 levels"),
        (4, (5,), "parts of 5 of 4 levels"),
        (0, (0,), "parts of 0 of 0 levels"),
        (0, (1,), "parts of 1 of 0 levels"),
        (4, (2,), "claim 9 bytes, 5 are there"),  # two scales, of which one is there
        (4, (3, 2), "2 parts of 5 levels"),
    ],
)
def test_parts_that_no_writer_makes_are_refused(n, sizes, complaint):
    scale, codes = np.float32([1]).tobytes(), b"\x55" * (n > 0)
    assert wire.decode(forge(2, levels_head(32, n), scale, codes)).sections[0].levels.size == n
    with pytest.raises(DecodeError, match=complaint):
        wire.decode(forge(2, levels_head(32, n, *sizes), scale, codes))


@pytest.mark.parametrize("section_type", [32, 33, 34])
@pytest.mark.parametrize("size", [1, 2, 2**31])
def test_a_forged_number_of_parts_costs_no_memory(section_type, size):
    payload = b"" if section_type == 32 else struct.pack("<I", 2**20)
    head = levels_head(section_type, 2**32 - 1, size) + payload
    data = with_checksum(b"FJ\x03\x02\xff" + bytes(4) + head * 255 + bytes(2**10))
    tracemalloc.start()
    with pytest.raises(DecodeError, match="claim"):
        wire.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_the_blocks_of_equal_parts_are_work_too():
    count, size = 2**15, 2**12
    head = struct.pack("<BIBHII", 34, count * size, 127, 1, size, count)
    entries = 255 * count * len(block_ends((size,), ADAPTIVE_GROWTH))
    with pytest.raises(DecodeError, match=f"^{entries} probabilities to compute"):
        wire.decode(forge(2, head, bytes(5 * count)))


def test_a_table_of_one_level_has_no_payload_but_its_filling():
    table = b"\0\x71\0"
    head = coded_head(4, 3, 5, 4)
    assert (
        wire.decode(forge(2, head, CENTERS, table, bytes(4))).sections[0].codes.tolist() == [1] * 5
    )
    with pytest.raises(DecodeError):
        wire.decode(forge(2, head, CENTERS, table, b"abcd"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("section_type", [0, 4, 5])
def test_centers_that_are_not_finite_are_refused(section_type, value):
    used = b"\0\0" if section_type else b""
    with pytest.raises(DecodeError, match="not finite"):
        wire.decode(forge(1, bytes([section_type, 0, 0]), used, np.float32([value]).tobytes()))


def test_the_work_of_a_message_is_bounded_by_its_bytes():
    # 65,535 layers of 32 codes each with 65,536 symbols: 4.3e9 probabilities.
    count, K, payload = 65_535, 65_536, 1024
    layers = struct.pack("<H", count) + struct.pack("<I", 32) * count
    head = coded_head(5, K, 32 * count, payload, layers)
    centers = np.arange(K, dtype=np.float32).tobytes()
    with pytest.raises(DecodeError, match="probabilities to compute"):
        wire.decode(forge(2, head, centers, bytes(payload)))
    # Spread over sections that are each within what a message may ask, together they are not.
    count = used = 5000
    layers = struct.pack("<H", count) + struct.pack("<I", 32) * count
    head = struct.pack("<BHHII", 5, used - 1, used - 1, 32 * count, 40) + layers
    body = np.arange(used, dtype=np.float32).tobytes() + bytes(40)
    assert used * count < 2**26
    data = b"FJ\x03\x02\x08" + bytes(4) + head * 8 + body * 8
    with pytest.raises(DecodeError, match="probabilities to compute"):
        wire.decode(with_checksum(data))
    centers = np.arange(used, dtype=np.float32)
    section = Coded(centers, np.zeros(count, np.uint16), "adaptive", (1,) * count)
    wire.encode(message(Kind.WEIGHTS, section))
    with pytest.raises(ValueError, match="no reader takes"):
        wire.encode(message(Kind.WEIGHTS, *[section] * 8))


def test_the_memory_of_a_message_is_bounded_by_its_bytes():
    # 255 codebooks of 65,536 blocks of 4 values, of which one is sent and the rest repeat it.
    head = struct.pack("<BHBH", 0x84, 65_535, 3, 0)
    rest = head * 255 + np.zeros(4 * 255, np.float32).tobytes()
    data = with_checksum(b"FJ\x03\x01\xff" + bytes(4) + rest)
    assert len(data) < 6000
    tracemalloc.start()
    with pytest.raises(DecodeError, match="repeated values"):
        wire.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    repeated = Coded(np.zeros((65_536, 4), np.float32), np.zeros(1, np.uint16), "adaptive")
    assert wire.decode(wire.encode(message(Kind.CODEBOOK, *[repeated] * 4))).kind == Kind.CODEBOOK
    with pytest.raises(ValueError, match="no reader takes"):
        wire.encode(message(Kind.CODEBOOK, *[repeated] * 5))


@pytest.mark.parametrize("count", [2**31 - 1, 2**30, 10**6])
def test_forged_positions_cost_no_memory(count):
    # All positions, at values that take no bits.
    values = struct.pack("<BHI", 0, 0, count)
    head = struct.pack("<BIIBI", 48, 2**31 - 1, count, 0, 4) + values
    tracemalloc.start()
    with pytest.raises(DecodeError):
        wire.decode(forge(2, head, bytes(4), np.float32([1]).tobytes()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(
    ("n", "m", "r", "complaint"),
    [(1, 1, 0, "rank 0"), (2**16, 2**15, 1, "65536 x 32768"), (2**31 - 1, 1, 65_535, "claim")],
)
def test_forged_matrices_cost_no_memory(n, m, r, complaint):
    head = struct.pack("<BIIH", 50, n, m, r)
    tracemalloc.start()
    with pytest.raises(DecodeError, match=complaint):
        wire.decode(forge(2, head, bytes(5)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("factor", [0x00001, 0x1F7FF, 0x5F800, 0x7F800, 0x7FC00, 0xFF800])
def test_factors_that_no_writer_makes_are_refused(factor):
    head = struct.pack("<BIIH", 50, 1, 1, 1)
    body = (0x3F800 | factor << 20).to_bytes(5, "little")
    with pytest.raises(DecodeError, match="factors"):
        wire.decode(forge(2, head, body))
    for allowed in (0, 0x80000, 0x20000, 0x5F7FF, 0xDF7FF):
        body = (0x3F800 | allowed << 20).to_bytes(5, "little")
        (section,) = wire.decode(forge(2, head, body)).sections
        assert wire.encode(message(Kind.WEIGHTS, section)) == forge(2, head, body)


def test_positions_have_one_way_of_being_written():
    rng = np.random.default_rng(0)
    section = sparse(rng, 20, 400, bits(rng, 20))
    data = wire.encode(message(Kind.WEIGHTS, section))
    b, packed = struct.unpack("<BI", data[18:23])
    for changes in ((18, bytes([b + 1])), (18, bytes([b - 1])), (18, b"\x20")):
        place, new = changes
        with pytest.raises(DecodeError):
            wire.decode(with_checksum(data[:place] + new + data[place + len(new) :]))
    longer = data[:19] + struct.pack("<I", packed + 1) + data[23:]
    end = len(data) - len(wire.encode(message(Kind.WEIGHTS, section.values))) + 9 + 5
    with pytest.raises(DecodeError):
        wire.decode(with_checksum(longer[:end] + b"\0" + longer[end:]))
    assert_equal(wire.decode(data), wire.sent(message(Kind.WEIGHTS, section)))
