"""From the first round to the last: segments, records, and the ways a run can end."""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax

from fedcode_jax import randomness
from fedcode_jax.simulation import processes
from fedcode_jax.simulation.evaluation import Score
from fedcode_jax.simulation.personal import PersonalScore
from fedcode_jax.simulation.program import Program
from fedcode_jax.simulation.records import Record, has_diverged, records_of
from fedcode_jax.simulation.segment import SegmentOutput
from fedcode_jax.simulation.state import State
from fedcode_jax.simulation.wire_check import WireCheck


class Evaluation(NamedTuple):
    """What an evaluation found, on the host.

    Attributes:
      server: of the server's weights.
      deployed: of the model that clients would receive.
      personal: of the clients' own models; None if they have none.
    """

    server: Score
    deployed: Score
    personal: PersonalScore | None

    @classmethod
    def of(cls, output: SegmentOutput) -> "Evaluation":
        """That at the end of a segment."""
        return cls(output.score, output.deployed, output.personal)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      state: after the last round done, or None where it was not kept.
      records: one a round, those given at the start included.
      status: ``completed``, ``diverged`` (a loss was not finite) or
        ``interrupted``.
      evaluation: the last one; None if there was none.
    """

    state: State | None
    records: list[Record]
    status: Literal["completed", "diverged", "interrupted"]
    evaluation: Evaluation | None = None


@randomness.standardised
def simulate(
    program: Program,
    state: State,
    *,
    rounds: int,
    eval_every: int = 1,
    records: list[Record] | None = None,
    advanced: Callable[[list[Record], State, Evaluation], None] | None = None,
    wire_check: WireCheck | None = None,
) -> Outcome:
    """Runs an experiment to its last round, to divergence, or until it is interrupted.

    The first Ctrl-C lets the present segment finish and ends the run in good order; the
    second one raises KeyboardInterrupt. With several processes, one in any of them counts.

    Args:
      program: what runs.
      state: where to begin, ``program.start(weights)`` or a checkpoint; it is used up.
      rounds: the last round.
      eval_every: rounds between evaluations; the last round is always evaluated.
      records: of the rounds before ``state``.
      advanced: called after each evaluation, with the new records, the state, and what it found.
      wire_check: is given every message to encode and decode; those of a run that diverges are
        left out.

    Returns:
      The outcome.
    """
    records = list(records or [])
    done = int(state.round)
    evaluation: Evaluation | None = None
    with _interruptible() as interrupted:
        while done < rounds:
            if processes.any_of(interrupted()):
                return Outcome(state, records, "interrupted", evaluation)
            num_rounds = min(eval_every - done % eval_every, rounds - done)
            compiling = program.compiled.seconds
            began = time.perf_counter()
            state, output = program.advance(state, num_rounds, traffic=wire_check is not None)
            jax.block_until_ready(output)
            seconds = time.perf_counter() - began - (program.compiled.seconds - compiling)
            on_host = jax.device_get(output._replace(traffic=None))
            new = records_of(
                on_host,
                first_round=done + 1,
                cumulative_bytes=records[-1]["cumulative_bytes"] if records else 0,
                seconds=seconds,
            )
            records += new
            evaluation = Evaluation.of(on_host)
            done += num_rounds
            if advanced is not None:
                advanced(new, state, evaluation)
            if any(has_diverged(record) for record in new):
                return Outcome(state, records, "diverged", evaluation)
            if wire_check is not None and output.traffic is not None:
                wire_check.take(output.traffic, output.metrics, done - num_rounds + 1)
    return Outcome(state, records, "completed", evaluation)


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT into a flag; restores the handler at once, for the second."""
    pending: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        pending.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pending)
    finally:
        signal.signal(signal.SIGINT, before)
