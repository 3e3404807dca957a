"""Runs the experiments of a group, as many at once as the devices have room for."""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from fedcode_jax.devices import device_count
from fedcode_jax.errors import ConfigError, FedcodeError
from fedcode_jax.experiment.building import Experiment, check_budget
from fedcode_jax.experiment.clients_table import client_rows
from fedcode_jax.experiment.closing import evaluation_of, summary_of
from fedcode_jax.experiment.grouping import Group, Planned, Shelf
from fedcode_jax.simulation import Evaluation, Outcome, Program
from fedcode_jax.simulation.device_memory import clients_that_fit, evaluation_batch
from fedcode_jax.simulation.fleet import Fleet, Member
from fedcode_jax.simulation.records import has_diverged, records_of
from fedcode_jax.targets import CPU

_MOST_ABREAST = 64
"""Experiments side by side on a device: more gain nothing."""
_MOST_EVALUATIONS, _MOST_ROUNDS = 16, 100
"""In one call of a program, so that progress can be shown and a sweep interrupted."""
_FAILURES = (ConfigError, jax.errors.JaxRuntimeError)
"""What a lack of room on a device is told by."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """What came of an experiment.

    Attributes:
      records: one a round.
      summary: the closing figures, or a status and an error.
      evaluation: accuracy by class and client; None if nothing was evaluated.
      clients: how every client fared at every evaluation, if that was asked for.
    """

    records: list[dict]
    summary: dict[str, Any]
    evaluation: dict[str, Any] | None = None
    clients: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def run_group(
    group: Group,
    shelf: Shelf,
    finish: Callable[[Planned, Ended], None],
    fail: Callable[[Planned, Exception], None],
    advanced: Callable[[float], None],
) -> None:
    """Runs the experiments of a group.

    Args:
      group: experiments of equal shapes.
      shelf: of data sets and partitions.
      finish: called with each experiment, and what came of it.
      fail: called with each experiment that cannot run, and why.
      advanced: called with every step: experiments done since the last call, parts of one too.
    """
    try:
        program, weights, batch = _template(group, shelf)
    except FedcodeError as error:
        for one in group.experiments:
            fail(one, error)
        return
    left = []
    for one in group.experiments:
        try:
            check_budget(one.config, program, weights)
            left.append(one)
        except ConfigError as error:
            fail(one, error)
    wanted = group.experiments[0].config.execution.devices
    fleet = Fleet(program, *_room(program, weights, len(left), wanted), group.one_dataset)

    def member_of(one: Planned) -> Member:
        return shelf.member(shelf.blueprint(one.config), group, batch)

    while left:
        try:
            for crew in _run_crews(fleet, left, member_of, advanced):
                left = left[len(crew.experiments) :]
                for one, member, outcome, evaluations in crew.ended():
                    own = program.with_inputs(settings=member.settings, test=member.test)
                    plan = shelf.blueprint(one.config)
                    experiment = Experiment(
                        *(one.config, plan.dataset, plan.partition, own, weights, plan.network),
                        shelf.init_checksum(one.config),
                    )
                    summary = summary_of(experiment, outcome, compile_seconds=fleet.compile_seconds)
                    evaluation = evaluation_of(experiment, outcome)
                    clients = _client_rows(experiment, evaluations)
                    finish(one, Ended(outcome.records, summary, evaluation, clients))
        except _FAILURES as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE" not in str(error):
                raise
            if fleet.abreast > 1:
                fleet = Fleet(program, fleet.devices, fleet.abreast // 2, group.one_dataset)
                continue
            for one in left[: fleet.size]:
                fail(one, error)
            left = left[fleet.size :]


def _client_rows(
    experiment: Experiment, evaluations: Mapping[int, Evaluation]
) -> list[dict[str, Any]]:
    if not experiment.config.evaluate_clients:
        return []
    found = evaluations.items()
    return [row for number, each in found for row in client_rows(experiment, number, each)]


def _template(group: Group, shelf: Shelf) -> tuple[Program, Any, int]:
    """The program of each experiment, planned for one device, its weights, and the test batch."""
    blueprint = shelf.blueprint(group.experiments[0].config)
    shape = blueprint.dataset.input_shape
    batch = evaluation_batch(blueprint.model, blueprint.shapes, shape)
    first = shelf.member(blueprint, group, batch)
    # Slots of several experiments in one loop would wait for those of each other.
    program = blueprint.program(first, group.max_size, may_pack=False)
    return program, first.weights, batch


def _room(program: Program, weights: Any, experiments: int, wanted: int | None) -> tuple[int, int]:
    """Devices that share the experiments, and experiments abreast on each."""
    devices = device_count(wanted, max(experiments, 1))
    if program.plan.target == CPU:  # one after another is faster there
        return devices, 1
    fits = clients_that_fit(program, weights) // program.plan.chunk
    return devices, max(1, min(fits, _MOST_ABREAST, -(-experiments // devices)))


@dataclasses.dataclass
class _Crew:
    """Experiments that run at once, and what has been done of them.

    Attributes:
      experiments: what they are.
      members: what they are made of.
      pieces: rounds before each evaluation, and the output, in turn.
      seconds: that they took.
    """

    experiments: Sequence[Planned]
    members: Sequence[Member]
    pieces: list[tuple[int, Any]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def ended(self) -> Iterator[tuple[Planned, Member, Outcome, dict[int, Evaluation]]]:
        """How each experiment ended, and its evaluations by their rounds."""
        each = self.seconds / self.experiments[0].config.rounds / len(self.experiments)
        for row, (one, member) in enumerate(zip(self.experiments, self.members, strict=True)):
            yield one, member, *_outcome(self.pieces, row, each)


def _run_crews(
    fleet: Fleet,
    experiments: Sequence[Planned],
    member_of: Callable[[Planned], Member],
    advanced: Callable[[float], None],
) -> Iterator[_Crew]:
    """Runs experiments, as many at once as the fleet has room for; yields those that are done.

    The devices are given their next piece of work before the last one is looked at, so that they
    need not wait. An error is raised when all crews before the one that it comes from are yielded.
    """
    rounds, eval_every = experiments[0].config.rounds, experiments[0].config.eval_every
    pieces = list(_pieces(rounds, eval_every))
    given: collections.deque[tuple[_Crew, float, int, Any]] = collections.deque()
    looked = 0.0

    def look() -> Iterator[_Crew]:
        nonlocal looked
        crew, began, length, output = given.popleft()
        crew.pieces.append((length, jax.device_get(output)))
        began, looked = max(began, looked), time.perf_counter()
        crew.seconds += looked - began
        evaluations, _ = pieces[len(crew.pieces) - 1]
        advanced(len(crew.experiments) * evaluations * length / rounds)
        if len(crew.pieces) == len(pieces):
            yield crew

    for first in range(0, len(experiments), fleet.size):
        chosen = experiments[first : first + fleet.size]
        crew = _Crew(chosen, [member_of(one) for one in chosen])
        while given and fleet.program.plan.target != CPU:  # where two crews may have no room
            yield from look()
        # Idle places run the last experiment once more.
        idle = [crew.members[-1]] * (fleet.size - len(chosen))
        try:
            state, on_devices = fleet.start([*crew.members, *idle])
            for evaluations, length in pieces:
                began, compiling = time.perf_counter(), fleet.compile_seconds
                state, output = fleet.advance(state, on_devices, evaluations, length)
                began += fleet.compile_seconds - compiling
                given.append((crew, began, length, output))
                if len(given) > 1:
                    yield from look()
        except _FAILURES:
            while given:  # the crew before may be done all the same
                yield from look()
            raise
    while given:
        yield from look()


def _outcome(
    outputs: Sequence[tuple[int, Any]], row: int, round_seconds: float
) -> tuple[Outcome, dict[int, Evaluation]]:
    """How one experiment ended: at its last round, or at the evaluation when it diverged."""
    records: list[dict] = []
    evaluations: dict[int, Evaluation] = {}
    last: Evaluation | None = None
    for rounds, output in outputs:
        for evaluation in range(output.score.loss.shape[1]):
            mine = jax.tree.map(lambda leaf, at=evaluation: leaf[row, at], output)
            new = records_of(
                mine,
                first_round=len(records) + 1,
                cumulative_bytes=records[-1]["cumulative_bytes"] if records else 0,
                seconds=rounds * round_seconds,
            )
            records += new
            last = evaluations[len(records)] = Evaluation.of(mine)
            if any(has_diverged(record) for record in new):
                return Outcome(None, records, "diverged", last), evaluations
    return Outcome(None, records, "completed", last), evaluations


def _pieces(rounds: int, eval_every: int) -> Iterator[tuple[int, int]]:
    """What each call does: evaluations, and rounds before each. Of equal size, to compile once."""
    whole, rest = divmod(rounds, eval_every)
    most = max(1, min(_MOST_EVALUATIONS, _MOST_ROUNDS // eval_every))
    size = max((n for n in range(1, most + 1) if whole % n == 0), default=1)
    for _ in range(whole // size):
        yield size, eval_every
    if rest:
        yield 1, rest
