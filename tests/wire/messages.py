"""Messages to try, shared by the tests of the format and by the fuzzer."""

import numpy as np

from fedcode_jax import wire
from fedcode_jax.wire import Coded, Dense, Kind, Message


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


def random_message(rng, most_codes=50, clusters=(1, 2, 3, 64, 255, 256, 257)):
    """A message of any kind that has bytes, with sections of every type."""
    sections = []
    for _ in range(rng.integers(0, 5)):
        n = int(rng.integers(0, most_codes + 1))
        if rng.random() < 0.25:
            dtype = str(rng.choice(list(wire.FLOAT_TYPES)))
            sections.append(dense(rng, n, dtype, always=bool(rng.random() < 0.5)))
            continue
        coding = str(rng.choice(wire.CODINGS))
        block = int(rng.choice([1, 1, 2, 5]))
        first = int(rng.integers(0, n + 1))
        layers = (first, n - first) if coding == "adaptive" and rng.random() < 0.5 else ()
        sections.append(coded(rng, int(rng.choice(clusters)), n, coding, block, layers))
    return message(rng.choice([Kind.CODEBOOK, Kind.WEIGHTS]), *sections)


def earlier(rng, m):
    """A reference that fits a message: most of its codes, and other centers."""

    def before(section):
        if isinstance(section, Dense):
            return section
        codes = np.array(section.codes)
        changed = rng.random(codes.shape) < 0.3
        codes[changed] = rng.integers(0, section.num_clusters, changed.sum())
        moved = np.sort(section.centers + np.float32(0.01), axis=0)
        return Coded(moved, codes)

    return Message(np.int32(Kind.WEIGHTS), tuple(before(s) for s in m.sections))


def assert_equal(a, b):
    assert int(a.kind) == int(b.kind)
    assert len(a.sections) == len(b.sections)
    for x, y in zip(a.sections, b.sections, strict=True):
        assert type(x) is type(y)
        if isinstance(x, Coded):
            np.testing.assert_array_equal(x.centers, y.centers)
            np.testing.assert_array_equal(x.codes, y.codes)
            assert x.codes.dtype == y.codes.dtype
            assert (x.coding, x.layers) == (y.coding, y.layers)
        else:
            np.testing.assert_array_equal(x.values, y.values)
            assert (x.dtype, x.always) == (y.dtype, y.always)
