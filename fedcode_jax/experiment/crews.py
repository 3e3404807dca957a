"""Experiments that run at once, round after round, and what is known of each as they go."""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from fedcode_jax.experiment.grouping import Planned
from fedcode_jax.experiment.keeping import Begun
from fedcode_jax.experiment.saving import is_time, pauses
from fedcode_jax.simulation import Evaluation, Outcome
from fedcode_jax.simulation.fleet import Fleet, Member
from fedcode_jax.simulation.records import has_diverged, records_of
from fedcode_jax.simulation.state import State
from fedcode_jax.targets import CPU

_MOST_EVALUATIONS, _MOST_ROUNDS = 16, 100
"""In one call of a program, so that progress can be shown and a sweep interrupted."""


class Piece(NamedTuple):
    """What one call of a program does.

    Attributes:
      evaluations: how many.
      rounds: before each of them.
      counts: whether the evaluations count; where rounds end for a checkpoint they do not.
    """

    evaluations: int
    rounds: int
    counts: bool = True

    @property
    def total(self) -> int:
        """Rounds of all of it."""
        return self.evaluations * self.rounds


def pieces(start: int, rounds: int, eval_every: int, stops: Sequence[int] = ()) -> Iterator[Piece]:
    """The calls that take experiments from one round to the last, few of them unlike.

    Args:
      start: rounds done; if these are all, there is one evaluation left.
      rounds: the last one, which is evaluated in any case.
      eval_every: rounds between evaluations.
      stops: numbers of rounds; after every so many a call ends.

    Yields:
      The calls in turn.

    Example:
      >>> [(p.evaluations, p.rounds) for p in pieces(0, 10, 4)]
      [(2, 4), (1, 2)]
      >>> [tuple(p) for p in pieces(2, 8, 4, [3])]
      [(1, 1, False), (1, 1, True), (1, 2, False), (1, 2, True)]
    """
    if start == rounds:
        yield Piece(1, 0)
    done = start
    while done < rounds:
        stop = min([rounds, *(done + every - done % every for every in stops)])
        to_evaluation = min(eval_every - done % eval_every, rounds - done)
        whole = (stop - done) // eval_every if done % eval_every == 0 else 0
        if whole:
            most = max(1, min(_MOST_EVALUATIONS, _MOST_ROUNDS // eval_every))
            size = max(n for n in range(1, min(most, whole) + 1) if whole % n == 0)
            yield from [Piece(size, eval_every)] * (whole // size)
            done += whole * eval_every
        else:
            length = min(to_evaluation, stop - done)
            yield Piece(1, length, length == to_evaluation)
            done += length


@dataclasses.dataclass
class Track:
    """One experiment on its way.

    Attributes:
      one: what it is.
      member: what it is made of.
      begun: what an earlier start has done of it.
      records: of the rounds done, those of the earlier start included.
      evaluations: of this start, by their rounds.
      last: the last of them.
      diverged: whether a loss was not finite; nothing is noted from then on.
    """

    one: Planned
    member: Member
    begun: Begun
    records: list[dict] = dataclasses.field(default_factory=list)
    evaluations: dict[int, Evaluation] = dataclasses.field(default_factory=dict)
    last: Evaluation | None = None
    diverged: bool = False

    def __post_init__(self) -> None:
        self.records = list(self.begun.records)

    def take(self, piece: Piece, output: Any, seconds: float) -> None:
        """Notes what a call has given for this experiment, with a leading axis of evaluations."""
        for at in range(piece.evaluations):
            if self.diverged:
                return
            mine = jax.tree.map(lambda leaf, at=at: leaf[at], output)
            new = records_of(
                mine,
                first_round=len(self.records) + 1,
                cumulative_bytes=self.records[-1]["cumulative_bytes"] if self.records else 0,
                seconds=seconds / piece.evaluations,
                evaluated=piece.counts,
            )
            self.records += new
            if piece.counts:
                self.last = self.evaluations[len(self.records)] = Evaluation.of(mine)
            self.diverged = any(has_diverged(record) for record in new)

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        status: Any = "diverged" if self.diverged else "completed"
        return Outcome(None, self.records, status, self.last)


@dataclasses.dataclass
class _Call:
    """A call that the devices have been given."""

    crew: "_Crew"
    piece: Piece
    began: float
    output: Any
    is_last: bool
    state: State | None


@dataclasses.dataclass
class _Crew:
    """Experiments that run at once."""

    tracks: Sequence[Track]
    done: int
    saved: int
    saved_at: float = dataclasses.field(default_factory=time.monotonic)

    def is_time(self, *, is_last: bool) -> bool:
        """Whether the states are to be saved; if they ever are, then after the last round too."""
        config = self.tracks[0].one.config
        if not pauses(config) or self.done == self.saved:
            return False
        seconds = time.monotonic() - self.saved_at
        return is_last or is_time(config, self.done, self.saved, seconds)


def run_crews(
    fleet: Fleet,
    experiments: Sequence[Planned],
    begun: Callable[[Planned], Begun],
    member_of: Callable[[Planned], Member],
    save: Callable[[Track, State], None] | None,
    reached: Callable[[Sequence[Planned], float], None],
) -> Iterator[Sequence[Track]]:
    """Runs experiments, as many at once as the fleet has room for.

    The devices are given their next piece of work before the last one is looked at, so that they
    need not wait, unless their states are to be saved. An error is raised when all crews before the
    one that it comes from are yielded.

    Args:
      fleet: what runs them.
      experiments: that stand at one round, and are saved at the same ones.
      begun: gives what an earlier start has done of one.
      member_of: gives what one is made of.
      save: saves the state of one, on the host; None where none is saved.
      reached: is told with every call how much of some experiments is done, from 0 to 1.

    Yields:
      Those that have ended.
    """
    config = experiments[0].config
    given: collections.deque[_Call] = collections.deque()
    looked = 0.0

    def look() -> Iterator[Sequence[Track]]:
        nonlocal looked
        call = given.popleft()
        output = jax.device_get(call.output)
        began, looked = max(call.began, looked), time.perf_counter()
        tracks = call.crew.tracks
        for row, track in enumerate(tracks):
            mine = jax.tree.map(lambda leaf, row=row: leaf[row], output)
            track.take(call.piece, mine, (looked - began) / len(tracks))
            if save is not None and call.state is not None and not track.diverged:
                save(track, jax.tree.map(lambda leaf, row=row: leaf[row], call.state))
        done = max(len(track.records) for track in tracks) / config.rounds
        reached([track.one for track in tracks], 1.0 if call.is_last else done)
        if call.is_last:
            yield tracks

    for first in range(0, len(experiments), fleet.size):
        chosen = experiments[first : first + fleet.size]
        tracks = [Track(one, member_of(one), begun(one)) for one in chosen]
        while given and fleet.program.plan.target != CPU:  # where two crews may have no room
            yield from look()
        try:
            for call in _calls(fleet, tracks, saves=save is not None):
                given.append(call)
                while len(given) > 1 or (given and given[0].state is not None):
                    yield from look()
        except Exception:
            while given:  # the crew before may be done all the same
                yield from look()
            raise
    while given:
        yield from look()


def _calls(fleet: Fleet, tracks: Sequence[Track], *, saves: bool) -> Iterator[_Call]:
    """Gives the devices all of a crew's work, piece by piece."""
    config, start = tracks[0].one.config, tracks[0].begun.round
    crew = _Crew(tracks, start, start)
    # Idle places run the last experiment once more.
    places = [*tracks, *[tracks[-1]] * (fleet.size - len(tracks))]
    state, on_devices = fleet.start([track.member for track in places])
    if start:
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state)
        state = fleet.laid([track.begun.state(shapes) for track in places])
    stops = pauses(config) if saves else []
    todo = list(pieces(start, config.rounds, config.eval_every, stops))
    for number, piece in enumerate(todo, start=1):
        began, compiling = time.perf_counter(), fleet.compile_seconds
        state, output = fleet.advance(state, on_devices, piece.evaluations, piece.rounds)
        began += fleet.compile_seconds - compiling
        crew.done += piece.total
        kept, is_last = None, number == len(todo)
        if saves and crew.is_time(is_last=is_last):
            kept = jax.device_get(state)  # the next call uses it up
            crew.saved, crew.saved_at = crew.done, time.monotonic()
        yield _Call(crew, piece, began, output, is_last, kept)
