"""Functions compiled ahead, and timed in turns."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from fedcode_jax.clients import Plan
from fedcode_jax.clients.plan import PRECISIONS


@dataclasses.dataclass(frozen=True)
class Timed:
    """Something to time.

    Attributes:
      run: what is timed, to the moment when all its results are there.
      inputs: makes its arguments before every call, untimed; for donated buffers.
    """

    run: Callable[..., Any]
    inputs: Callable[[], tuple] = tuple


def interleaved(parts: Mapping[str, Timed], repeats: int) -> dict[str, list[float]]:
    """Times every part once a turn, after one turn that does not count.

    In turns, so that a machine that slows down meanwhile is fair to all parts.

    Args:
      parts: what to time, by name.
      repeats: turns.

    Returns:
      Seconds of every call, by part.

    Example:
      >>> {name: len(s) for name, s in interleaved({"sum": Timed(lambda: 1 + 1)}, 3).items()}
      {'sum': 3}
    """
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(repeats + 1):
        for name, part in parts.items():
            inputs = jax.block_until_ready(part.inputs())
            began = time.perf_counter()
            jax.block_until_ready(part.run(*inputs))
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def compiled(
    function: Callable[..., Any], *inputs: Any, plan: Plan, **options: Any
) -> Callable[..., Any]:
    """Compiles a function as a plan compiles a round.

    Args:
      function: of arrays.
      *inputs: what it will be called with, where it will lie.
      plan: gives the precision and the compiler's options.
      **options: of ``jax.jit``.

    Returns:
      The compiled function.
    """
    with jax.default_matmul_precision(PRECISIONS[plan.precision]):
        lowered = jax.jit(function, **options).lower(*inputs)
    return lowered.compile(plan.compiler_options)


@contextlib.contextmanager
def cache_reads() -> Iterator[list[str]]:
    """Notes every program that JAX reads from its compilation cache instead of compiling it.

    Example:
      >>> with cache_reads() as reads:
      ...     number = 1 + 1
      >>> reads
      []
    """
    reads: list[str] = []
    _listen()
    _READERS.append(reads)
    try:
        yield reads
    finally:
        # Not by value: lists of the same reads are equal.
        _READERS[:] = [each for each in _READERS if each is not reads]


_READERS: list[list[str]] = []


@functools.cache
def _listen() -> None:
    """Once and for all: the oldest JAX has no way to stop listening."""

    def note(event: str, **_: str | int) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            for reads in _READERS:
                reads.append(event)

    jax.monitoring.register_event_listener(note)
