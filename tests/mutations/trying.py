"""Reads mutated files, each in a bounded time and memory, and holds what comes of it to a law."""

import collections
import contextlib
import dataclasses
import random
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mutator import mutate

from fedcode_jax.errors import FedcodeError

SECONDS = 5.0
"""The longest that a file may keep the processor busy; on the clock ten times as long."""
BYTES = 2 * 2**30
"""The most address space that a file may take beside what the process has."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is mutated, and what must come of it.

    Attributes:
      path: where the mutated file is written before it is read.
      originals: whole files of this kind, of which one is mutated; any of them may stand for
        another.
      foreign: a whole file of this kind that is wrong here, such as that of another run.
      read: reads the mutated file as the program does; gives something that can be compared.
      holds: whether what was read is right; by default whatever can be read is.
      refused: errors that are a clear answer.
      finish: what is done to mutated bytes before they are written, such as a valid checksum.
    """

    path: Path
    originals: list[bytes]
    read: Callable[[], Any]
    holds: Callable[[Any], bool] = lambda found: True
    refused: tuple[type[Exception], ...] = (FedcodeError,)
    finish: Callable[[random.Random, bytes], bytes] = lambda rng, data: data
    foreign: bytes | None = None


@dataclasses.dataclass
class Outcome:
    """What came of many mutated files.

    Attributes:
      counts: how many were refused and how many read.
      violations: of each kind of violation its smallest seed, and how often it was seen.
      longest: seconds of the slowest.
    """

    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    violations: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    longest: float = 0.0


class _TooLong(BaseException):
    """Not to be caught by what is tried."""


def attempt(name: str, subject: Subject, seeds: range) -> Outcome:
    """Mutates and reads a file for each seed; the same seeds give the same files.

    Args:
      name: of the kind of file, part of each seed.
      subject: the kind.
      seeds: one a mutation.

    Returns:
      What came of them. ``violations`` is empty where every file was refused or read right.
    """
    outcome = Outcome()
    for data in subject.originals:  # or a wrong reader would pass
        subject.path.write_bytes(data)
        assert subject.holds(subject.read())
    for seed in seeds:
        rng = random.Random(f"{name} {seed}")
        whole, other = rng.choice(subject.originals), rng.choice(subject.originals)
        what, data = mutate(rng, whole, subject.foreign or other)
        subject.path.write_bytes(subject.finish(rng, data))
        began = time.process_time()
        try:
            with _limited():
                ok = subject.holds(subject.read())
            result, said = ("read", "") if ok else ("violated", "a wrong answer")
        except subject.refused:
            result, said = "refused", ""
        except _TooLong:
            result, said = "violated", f"more than {SECONDS:g} s"
        except Exception as error:
            result, said = "violated", _where(error)
        outcome.longest = max(outcome.longest, time.process_time() - began)
        outcome.counts[result] += 1
        if said:
            found = outcome.violations.setdefault(said, {"seed": seed, "what": what, "times": 0})
            found["times"] += 1
    return outcome


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Bounds time and memory; a warning is an error."""

    def stop(*_: Any) -> None:
        raise _TooLong

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, before[1]))
    clocks = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    handlers = {number: signal.signal(number, stop) for number in clocks}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        for number, clock in clocks.items():
            signal.setitimer(clock, 0)
            signal.signal(number, handlers[number])
        resource.setrlimit(resource.RLIMIT_AS, before)


def _where(error: Exception) -> str:
    """An error by its kind and the line of ours that let it pass, without what differs by seed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if "fedcode_jax" in each.filename] or frames
    place = Path(ours[-1].filename)
    return f"{type(error).__name__} in {place.parent.name}/{place.name}: {ours[-1].line}"
