"""A reader of the new sections made from the words of FORMAT.md alone."""

import struct
import zlib

import numpy as np
import pytest
import rotations
from messages import bits, coded, dense, equal_parts, levels, low_rank, message, rotated, sparse

from fedcode_jax import wire
from fedcode_jax.wire import Bits, Dense, Kind, Levels, LowRank, Rotated, Sparse


def stream(data):
    """The bits of bytes, least significant first."""
    return [byte >> i & 1 for byte in data for i in range(8)]


def number(some_bits):
    return sum(bit << i for i, bit in enumerate(some_bits))


def read_header(data, at):
    """(type, fields, where the header ends, length of the body) of a section."""
    kind = data[at]
    if kind in (1, 2, 3):
        (n,) = struct.unpack_from("<I", data, at + 1)
        return kind, (n,), at + 5, n * (4 if kind == 1 else 2)
    if kind in (16, 17):
        (n,) = struct.unpack_from("<I", data, at + 1)
        return kind, (n,), at + 5, 4 * (kind == 17) + -(-n // 8)
    if kind == 32:
        n, limit, count = struct.unpack_from("<IBH", data, at + 1)
        parts = struct.unpack_from(f"<{count}I", data, at + 8)
        w = (2 * limit).bit_length()
        if count == 1:
            (s,) = parts
            parts = [s] * (-(-n // s) - 1)
            parts.append(n - sum(parts))
        body = 4 * max(1, len(parts)) + -(-n * w // 8)
        return kind, (n, limit, parts or (n,), w), at + 8 + 4 * count, body
    if kind == 0:
        K, n = struct.unpack_from("<HI", data, at + 1)
        w = K.bit_length()
        return kind, (K + 1, n, w), at + 7, 4 * (K + 1) + -(-n * w // 8)
    if kind == 49:
        n, seed = struct.unpack_from("<II", data, at + 1)
        inner = read_header(data, at + 9)
        return kind, (n, seed, inner), inner[2], inner[3]
    if kind == 50:
        n, m, r = struct.unpack_from("<IIH", data, at + 1)
        return kind, (n, m, r), at + 11, -(-20 * (n + m) * r // 8)
    assert kind == 48
    n, k, b, G = struct.unpack_from("<IIBI", data, at + 1)
    inner = read_header(data, at + 14)
    return kind, (n, k, b, G, inner), inner[2], G + inner[3]


def read_body(header, body):
    """The values that a section stands for, as a list of numbers."""
    kind, fields = header[:2]
    if kind in (1, 2):
        return list(struct.unpack(f"<{fields[0]}{' fe'[kind]}", body))
    if kind == 16:
        return stream(body)[: fields[0]]
    if kind == 17:
        (m,) = struct.unpack_from("<f", body)
        return [m if bit else -m for bit in stream(body[4:])[: fields[0]]]
    if kind == 32:
        n, limit, parts, w = fields
        scales = struct.unpack_from(f"<{len(parts)}f", body)
        found = stream(body[4 * len(parts) :])
        codes = iter([number(found[i * w : (i + 1) * w]) - limit for i in range(n)])
        return [scale * next(codes) for scale, size in zip(scales, parts, strict=True)
                for _ in range(size)]  # fmt: skip
    if kind == 0:
        K, n, w = fields
        centers, found = struct.unpack_from(f"<{K}f", body), stream(body[4 * K :])
        return [centers[number(found[i * w : (i + 1) * w])] for i in range(n)]
    if kind == 49:
        n, seed, inner = fields
        return rotations.back(read_body(inner, body), seed, n)
    if kind == 50:
        n, m, r = fields
        found = stream(body)
        words = [number(found[20 * i : 20 * i + 20]) << 12 for i in range((n + m) * r)]
        p = np.array(words, np.uint32).view(np.float32).reshape(n + m, r)
        values = []
        for i in range(n):
            for j in range(n, n + m):
                value = p[i, 0] * p[j, 0]
                for k in range(1, r):
                    value = value + p[i, k] * p[j, k]
                values.append(value)
        return values
    n, k, b, G, inner = fields
    others = 2 * k > n
    found, place, quotients, listed = stream(body[:G]), 0, [], []
    for _ in range(n - k if others else k):
        end = found.index(0, place)
        quotients.append(end - place)
        place = end + 1
    last = -1
    for q in quotients:
        last += 1 + (q << b) + number(found[place : place + b])
        place += b
        listed.append(last)
    assert not any(found[place:])
    positions = [p for p in range(n) if p not in set(listed)] if others else listed
    values = [0.0] * n
    for p, value in zip(positions, read_body(inner, body[G:]), strict=True):
        values[p] = value
    return values


@pytest.mark.parametrize("seed", range(20))
def test_a_reader_made_from_the_words_of_the_format_agrees(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 40))
    first = int(rng.integers(0, n + 1))
    sections = [bits(rng, n), levels(rng, n, 5), levels(rng, n, 127, parts=(first, n - first))]
    sections += [levels(rng, n, 2, parts=equal_parts(n, size)) for size in (1, 3, 4, 1 + first)]
    for size in (n, int(1.3 * n), 30 * n):
        sections += [sparse(rng, n, size, bits(rng, n)), sparse(rng, n, size, dense(rng, n))]
        sections += [rotated(rng, size, bits(rng, n)), rotated(rng, size, coded(rng, 5, n))]
    sections += [low_rank(rng, n, int(rng.integers(0, 9)), 1 + seed % 3)]
    data = wire.encode(message(Kind.UPDATE, *sections))
    assert data[:5] == b"FJ\x03\x03" + bytes([len(sections)])
    assert struct.unpack_from("<I", data, 5)[0] == zlib.crc32(data[:5] + data[9:])
    at, headers = 9, []
    for _ in sections:
        headers.append(read_header(data, at))
        at = headers[-1][2]
    for header, section in zip(headers, sections, strict=True):
        found = np.array(read_body(header, data[at : at + header[3]]), np.float32)
        np.testing.assert_array_equal(found, np.asarray(wire.values(section)))
        at += header[3]
    assert at == len(data)


def test_the_bytes_of_the_new_sections_are_as_worked_by_hand():
    def written(section):
        return wire.encode(message(Kind.WEIGHTS, section))[9:].hex(" ")

    assert written(wire.Bits(np.uint8([1, 0, 1]), np.float32(0.5))) == (
        "11 03 00 00 00 00 00 00 3f 05"
    )
    # -1, 1, 0 as 0, 2, 1 in two bits each.
    assert written(Levels(np.int8([-1, 1, 0]), np.float32([2]), 1)) == (
        "20 03 00 00 00 01 00 00 00 00 00 40 18"
    )
    # Parts of 2: of 2 and of 1.
    assert written(Levels(np.int8([-1, 1, 0]), np.float32([2, 1]), 1, (2, 1))) == (
        "20 03 00 00 00 01 01 00 02 00 00 00 00 00 00 40 00 00 80 3f 18"
    )
    # Gaps 2 and 5: with b = 1 the quotients 1 and 2, as 10 and 110, and the remainders 0 and 1.
    section = Sparse(np.int32([2, 8]), Dense(np.float32([1, 2]), "float16"), 10)
    assert written(section) == (
        "30 0a 00 00 00 02 00 00 00 01 01 00 00 00 02 02 00 00 00 4d 00 3c 00 40"
    )
    section = Rotated(Bits(np.uint8([1, 0]), np.float32(0.5)), np.uint32(258), 5)
    assert written(section) == "31 05 00 00 00 02 01 00 00 11 02 00 00 00 00 00 00 3f 01"
    # 1, -2 and 0.5 as 3f800, c0000 and 3f000.
    section = LowRank(np.float32([[1], [-2]]), np.float32([[0.5]]))
    assert written(section) == "32 02 00 00 00 01 00 00 00 01 00 00 f8 03 00 c0 00 f0 03"


def test_a_rotation_is_the_one_of_the_words_and_keeps_lengths():
    for n in (1, 2, 3, 4, 7, 16, 17, 100, 300, 1000):
        x, seed = np.random.default_rng(n).normal(size=n).astype(np.float32), np.uint32(n)
        turned = np.asarray(wire.rotate(x, seed))
        np.testing.assert_array_equal(turned, rotations.forward(x, seed))
        np.testing.assert_allclose(np.sum(turned**2), np.sum(x**2), rtol=1e-5)
        np.testing.assert_allclose(rotations.back(turned, seed, n), x, atol=1e-5)
        np.testing.assert_array_equal(wire.kept(n // 2, n, seed), rotations.places(n // 2, n, seed))
    H = np.array([[1]])
    while len(H) < 64:
        H = np.kron(H, [[1, 1], [1, -1]])
    np.testing.assert_allclose(rotations.hadamard(np.eye(64, dtype=np.float32)), H / 8)
