"""Feeds mutated, truncated and random bytes to ``wire.decode``.

    python tests/wire/fuzz.py [--count 100000] [--seed 0]

Most mutants get a valid checksum again, or nothing behind it would ever be tried. Each must
give a message that can be encoded again, or a DecodeError; anything else is raised. Prints what
came of it, the longest time of a call and the memory that the process needed at most.
"""

import argparse
import collections
import random
import resource
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from messages import assert_equal, earlier, random_message

sys.path.append(str(Path(__file__).parents[1] / "mutations"))

from mutator import mutate

from fedcode_jax import wire
from fedcode_jax.wire.format import VERSION


def with_checksum(data):
    """The bytes with the checksum that they should have."""
    if len(data) < 9:
        return data
    return data[:5] + zlib.crc32(data[9:], zlib.crc32(data[:5])).to_bytes(4, "little") + data[9:]


def candidates(seed, count):
    """Bytes to decode, with what to give."""
    rng, mishaps = np.random.default_rng(seed), random.Random(seed)
    for i in range(count):
        if i % 20 == 0:
            m = random_message(rng, most_codes=int(rng.choice([0, 1, 40, 400])))
            given = earlier(rng, m)
            data = wire.encode(m, given=given)
        kind = rng.random()
        if kind < 0.05:
            yield rng.bytes(int(rng.integers(0, 80))), given
        elif kind < 0.15:
            yield data[: rng.integers(0, len(data) + 1)], given
        elif kind < 0.2:
            yield mutate(mishaps, data, data)[1], given
        elif kind < 0.3:
            head = b"FJ" + bytes([VERSION, int(rng.integers(1, 4)), int(rng.integers(0, 4))])
            yield with_checksum(head + bytes(4) + rng.bytes(int(rng.integers(0, 60)))), given
        else:
            reference = given if rng.random() < 0.9 else None
            yield with_checksum(mutate(mishaps, data, data)[1]), reference


def check(message, given):
    """Checks that what was decoded is a message, and one that can be written again."""
    coded = [s for s in message.sections if isinstance(s, wire.Coded)]
    # Any number of codes that are all the same is valid, and takes no memory before it is written.
    if all(s.codes.size < 10**6 for s in coded):
        again = wire.decode(wire.encode(message, given=given), given=given)
        assert_equal(again, message)
    for section in message.sections:
        if isinstance(section, wire.Sparse):
            assert section.positions.dtype == np.int32
        elif isinstance(section, wire.Rotated):
            assert section.seed.dtype == np.uint32
        elif isinstance(section, wire.LowRank):
            assert all(np.isfinite(factor).all() for factor in (section.left, section.right))
        elif isinstance(section, wire.Coded):
            assert section.codes.dtype == (np.uint8 if section.num_clusters <= 256 else np.uint16)
            assert np.isfinite(section.centers).all()


def fuzz(seed, count):
    """Tries ``count`` byte strings; what came of them, and the longest call in seconds."""
    outcomes, longest = collections.Counter(), 0.0
    for data, given in candidates(seed, count):
        began, found = time.perf_counter(), None
        try:
            found = wire.decode(data, given=given)
        except wire.DecodeError:
            outcomes["refused"] += 1
        longest = max(longest, time.perf_counter() - began)
        if found is not None:
            check(found, given)
            outcomes["valid"] += 1
    return outcomes, longest


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes, longest = fuzz(options.seed, options.count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(dict(outcomes), f"longest call {longest:.2f} s, peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
