"""Messages to try, shared by the tests of the format and by the fuzzer."""

import jax
import numpy as np

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


def coded(rng, num_clusters, n, coding="fixed", block=1, layers=()):
    """A section with codes of a peaked distribution; a third of the centers may be repeats."""
    shape = (num_clusters,) if block == 1 else (num_clusters, block)
    centers = np.sort(rng.normal(size=shape), axis=0).astype(np.float32)
    used = rng.integers(max(1, 2 * num_clusters // 3), num_clusters + 1)
    centers[used:] = centers[used - 1]
    codes = np.minimum(rng.geometric(4 / (3 + num_clusters), n) - 1, used - 1)
    dtype = np.uint8 if num_clusters <= 256 else np.uint16
    return Coded(centers, codes.astype(dtype), coding, layers)


def dense(rng, n, dtype="float32", always=False):
    values = rng.normal(size=n).astype(wire.FLOAT_TYPES[dtype]).astype(np.float32)
    return Dense(values, dtype, always)


def message(kind, *sections):
    return Message(np.int32(kind), sections)


def bits(rng, n):
    magnitude = np.float32(rng.exponential()) if rng.random() < 0.5 else None
    return Bits(rng.integers(0, 2, n).astype(np.uint8), magnitude)


def levels(rng, n, limit=3, coding="fixed", parts=()):
    scales = np.asarray(wire.rounded_scales(rng.exponential(size=len(parts) or 1)))
    drawn = np.clip(np.rint(rng.normal(size=n) * limit / 3), -limit, limit)
    return Levels(drawn.astype(np.int8), scales, limit, parts, coding)


def equal_parts(n, size):
    """The parts of n levels with ``size`` each, the last with what is left."""
    return tuple(min(size, n - begin) for begin in range(0, n, size))


def positions(rng, k, size):
    return np.sort(rng.choice(size, k, replace=False)).astype(np.int32)


def sparse(rng, k, size, values):
    return Sparse(positions(rng, k, size), values, size)


def rotated(rng, size, values):
    return Rotated(values, rng.integers(0, 2**32, dtype=np.uint32)[()], size)


def low_rank(rng, n, m, r):
    """Of factors of 12 bits: whole numbers of 12 times powers of two."""
    numbers = rng.integers(-4095, 4096, (n + m, r)) * 2.0 ** rng.integers(-40, 10, (n + m, r))
    return LowRank(np.float32(numbers[:n]), np.float32(numbers[n:]))


def random_plain(rng, n, clusters, floats=True, conditional=True):
    """A section of n floats, codes or bits that any message may hold."""
    kind = rng.integers(0 if floats else 1, 3)
    if kind == 0:
        dtype = str(rng.choice(list(wire.FLOAT_TYPES)))
        return dense(rng, n, dtype, always=bool(rng.random() < 0.5))
    if kind == 1:
        return bits(rng, n)
    coding = str(rng.choice(wire.CODINGS if conditional else wire.CODINGS[:3]))
    block = int(rng.choice([1, 1, 2, 5]))
    codes = -(-n // block)
    first = int(rng.integers(0, codes + 1))
    layers = (first, codes - first) if coding == "adaptive" and rng.random() < 0.5 else ()
    return coded(rng, int(rng.choice(clusters)), codes, coding, block, layers)


def random_section(rng, n, clusters):
    """A section of any type; what it holds is about n long."""
    kind = rng.integers(0, 8)
    if kind == 0:
        first = int(rng.integers(0, n + 1))
        parts = [(), (first, 0, n - first), equal_parts(n, 1 + first)][rng.integers(0, 3)]
        coding = str(rng.choice(["fixed", "entropy", "adaptive"]))
        return levels(rng, n, int(rng.choice([1, 2, 7, 127])), coding, parts)
    if kind == 1:
        size = int(n / rng.choice([1, 0.9, 0.5, 0.1, 0.001]))
        return sparse(rng, n, size, random_plain(rng, n, clusters, conditional=False))
    if kind == 2:
        size = int(n / rng.choice([1, 0.9, 0.1]))
        return rotated(rng, size, random_plain(rng, n, clusters, False, False))
    if kind == 3:
        r = int(rng.choice([1, 2, 5]))
        return low_rank(rng, int(rng.integers(0, 1 + n // r)), int(rng.integers(0, 30)), r)
    return random_plain(rng, n, clusters)


def random_message(rng, most_codes=50, clusters=(1, 2, 3, 64, 255, 256, 257)):
    """A message of any kind that has bytes, with sections of every type."""
    count = rng.integers(0, 5)
    sections = [
        random_section(rng, int(rng.integers(0, most_codes + 1)), clusters) for _ in range(count)
    ]
    return message(rng.choice([Kind.CODEBOOK, Kind.WEIGHTS, Kind.UPDATE]), *sections)


def earlier(rng, m):
    """A reference that fits a message: most of its codes, and other centers."""

    def before(section):
        if not isinstance(section, Coded):
            return section
        codes = np.array(section.codes)
        changed = rng.random(codes.shape) < 0.3
        codes[changed] = rng.integers(0, section.num_clusters, changed.sum())
        moved = np.sort(section.centers + np.float32(0.01), axis=0)
        return Coded(moved, codes)

    return Message(np.int32(Kind.WEIGHTS), tuple(before(s) for s in m.sections))


def assert_equal(a, b):
    """Of one structure, which says how each section is written, and with the same arrays."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
