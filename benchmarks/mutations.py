"""Reads thousands of damaged files of every kind, and holds each to the law: refused, or right.

    python benchmarks/mutations.py [KIND ...] [--count 10000] [--first 0] [--record]

A file is truncated, flipped in a few bits, overwritten, spliced with another, zeroed in part,
exchanged for a stranger, lengthened or shortened, and a text has lines doubled or removed and
words replaced. Reading it must end in one of this package's errors, or in what a whole file holds
where a checksum covers it, within 5 s and 2 GiB; anything else is a violation. Prints for each
kind how many were refused and read, and of each violation the smallest seed: ``--first SEED
--count 1`` makes that file again. ``--record`` writes the counts to results/mutations.json, by
version of Python. Exits with 1 where there was a violation.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import tempfile
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests" / "mutations"))

from kinds import KINDS
from recording import RESULTS, facts
from trying import attempt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    unknown = set(options.kinds) - set(KINDS)
    if unknown:
        parser.error(f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    bad = 0
    for name in options.kinds or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            subject = KINDS[name](pathlib.Path(folder))
            seeds = range(options.first, options.first + options.count)
            outcome = attempt(name, subject, seeds)
        found = {**outcome.counts, "slowest_ms": round(1e3 * outcome.longest, 1)}
        print(f"{name:20} {found}", flush=True)
        for what, seen in outcome.violations.items():
            print(f"  seed {seen['seed']}, {seen['what']}, {seen['times']} times: {what}")
            bad += seen["times"]
        if options.record:
            again = f"python benchmarks/mutations.py {name} --count {options.count} --record"
            _record(name, {"command": again, **found})
    return 1 if bad else 0


def _record(name: str, found: dict[str, Any]) -> None:
    """Writes the counts of a kind, with this version of Python, beside those of others."""
    path = RESULTS / "mutations.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    version = ".".join(platform.python_version_tuple()[:2])
    kinds = record.get(version, {}).get("kinds", {}) | {name: found}
    about = {what: each for what, each in facts().items() if what != "command"}
    record[version] = {"python": platform.python_version(), **about, "kinds": kinds}
    path.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
