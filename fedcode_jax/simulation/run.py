"""From the first round to the last: segments, records, and the ways a run can end."""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.devices import told_if_exhausted
from fedcode_jax.simulation import processes
from fedcode_jax.simulation.evaluation import Score
from fedcode_jax.simulation.personal import PersonalScore
from fedcode_jax.simulation.program import Program
from fedcode_jax.simulation.records import Record, has_diverged, records_of
from fedcode_jax.simulation.segment import SegmentOutput
from fedcode_jax.simulation.state import State
from fedcode_jax.simulation.wire_check import WireCheck


class RoundCheck(Protocol):
    """What looks at single rounds: ``shadow.Check`` does them once more in float64.

    Attributes:
      rounds: how many it is yet to be given.
    """

    rounds: int

    def take(self, before: State, after: State, output: SegmentOutput) -> None:
        """Is given one: the state before it on the host, that after it, and what happened."""


_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Batch systems send the second some seconds before they end a job, a lost terminal the third."""


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
      signal: that interrupted it, such as ``SIGTERM``.
    """

    state: State | None
    records: list[Record]
    status: Literal["completed", "diverged", "interrupted"]
    evaluation: Evaluation | None = None
    signal: str | None = None


@randomness.standardised
def simulate(
    program: Program,
    state: State,
    *,
    rounds: int,
    eval_every: int = 1,
    pause_every: Sequence[int] = (),
    records: list[Record] | None = None,
    advanced: Callable[[list[Record], State, Evaluation | None], None] | None = None,
    wire_check: WireCheck | None = None,
    check: RoundCheck | None = None,
) -> Outcome:
    """Runs an experiment to its last round, to divergence, or until it is interrupted.

    The first Ctrl-C lets the present segment finish and ends the run in good order; the
    second one raises KeyboardInterrupt. SIGTERM and SIGHUP do the same, and end the process at the
    second. With several processes, one in any of them counts.

    Args:
      program: what runs.
      state: where to begin, ``program.start(weights)`` or a checkpoint; it is used up.
      rounds: the last round.
      eval_every: rounds between evaluations; the last round is always evaluated.
      pause_every: numbers of rounds; after every so many ``advanced`` is called besides.
      records: of the rounds before ``state``.
      advanced: called after each evaluation and pause, with the new records, the state, and what
        the evaluation found; None at a pause.
      wire_check: is given every message to encode and decode; those of a run that diverges are
        left out.
      check: is given the first rounds, which then run one at a time.

    Returns:
      The outcome.
    """
    records = list(records or [])
    done = int(state.round)
    evaluation: Evaluation | None = None
    if done == rounds:  # all is done but what it came to
        state, output = program.advance(state, 0)
        evaluation = Evaluation.of(jax.device_get(output._replace(traffic=None)))
    with _interruptible() as interrupted:
        while done < rounds:
            stopped = processes.some(interrupted())
            if stopped:
                return Outcome(state, records, "interrupted", evaluation, stopped)
            to_evaluation = min(eval_every - done % eval_every, rounds - done)
            num_rounds = min([to_evaluation, *(every - done % every for every in pause_every)])
            checked = check is not None and check.rounds > 0
            if checked:
                num_rounds, before = 1, jax.device_get(jax.tree.map(jnp.copy, state))
            evaluated = num_rounds == to_evaluation
            compiling = program.compiled.seconds
            began = time.perf_counter()
            kept = {"traffic": wire_check is not None or checked, "works": checked}
            with told_if_exhausted(program.plan.chunk):
                state, output = program.advance(state, num_rounds, **kept)
                jax.block_until_ready(output)
            seconds = time.perf_counter() - began - (program.compiled.seconds - compiling)
            on_host = jax.device_get(output._replace(traffic=None))
            new = records_of(
                on_host,
                first_round=done + 1,
                cumulative_bytes=records[-1]["cumulative_bytes"] if records else 0,
                seconds=seconds,
                evaluated=evaluated,
            )
            records += new
            found = Evaluation.of(on_host) if evaluated else None
            evaluation = found or evaluation
            done += num_rounds
            if advanced is not None:
                advanced(new, state, found)
            if any(has_diverged(record) for record in new):
                if wire_check is not None:
                    wire_check.left_out = num_rounds
                return Outcome(state, records, "diverged", evaluation)
            if checked:
                assert check is not None
                check.take(before, state, output)
            if wire_check is not None and output.traffic is not None:
                wire_check.take(output.traffic, output.metrics, done - num_rounds + 1)
    return Outcome(state, records, "completed", evaluation)


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], str]]:
    """Turns the first signal that asks for an end into its name; the next one acts as before."""
    pending: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: ""
        return
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        pending.append(signal.Signals(number).name)
        restore()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN or number == signal.SIGINT:  # as under nohup
            signal.signal(number, note)
    try:
        yield lambda: pending[0] if pending else ""
    finally:
        restore()
