"""Runs the experiments of a group, as many at once as the devices have room for."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from fedcode_jax import results
from fedcode_jax.devices import device_count
from fedcode_jax.errors import ConfigError, FedcodeError
from fedcode_jax.experiment.building import Experiment, check_budget
from fedcode_jax.experiment.clients_table import client_rows
from fedcode_jax.experiment.closing import evaluation_of, summary_of
from fedcode_jax.experiment.crews import Track, run_crews
from fedcode_jax.experiment.grouping import Group, Planned, Shelf
from fedcode_jax.experiment.keeping import Begun, Keeper
from fedcode_jax.experiment.saving import pauses
from fedcode_jax.names import one_line
from fedcode_jax.simulation import Program, State
from fedcode_jax.simulation.device_memory import clients_that_fit, evaluation_batch
from fedcode_jax.simulation.fleet import Fleet, Member
from fedcode_jax.targets import CPU

_MOST_ABREAST = 64
"""Experiments side by side on a device: more gain nothing."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """What came of an experiment; plain values, which can be sent to another machine.

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


def failed(error: BaseException) -> Ended:
    """What came of an experiment that cannot run, or ended in an error."""
    told = str(error)
    if not isinstance(error, FedcodeError):
        told = one_line(error)
        logging.getLogger("fedcode_jax").info("fedcode: an experiment failed", exc_info=error)
    return Ended([], {"status": results.FAILED, "error": told, "rounds": 0})


class Progress:
    """Tells how far experiments are, of each no more than once how much.

    Args:
      advanced: called with experiments done since the last call, parts of one too.
    """

    def __init__(self, advanced: Callable[[float], None]) -> None:
        self._advanced = advanced
        self._told: dict[int, float] = {}

    def reached(self, experiments: Sequence[Planned], share: float) -> None:
        """Tells that so much of each of some experiments is done, from 0 to 1."""
        before = [self._told.get(one.number, 0.0) for one in experiments]
        self._told |= {
            one.number: max(share, told) for one, told in zip(experiments, before, strict=True)
        }
        self._advanced(sum(max(share - told, 0.0) for told in before))


def run_group(
    group: Group, shelf: Shelf, progress: Progress, keeper: Keeper | None = None
) -> Iterator[tuple[Planned, Ended]]:
    """Runs the experiments of a group.

    Where several have no room side by side, fewer are tried. Those that have none by themselves
    have failed, and after an error that nobody foresaw all that are left.

    Args:
      group: experiments of equal shapes.
      shelf: of data sets and partitions.
      progress: is told of every step.
      keeper: of their checkpoints; None where there are none.

    Yields:
      Each experiment, and what came of it.
    """
    try:
        setting = _Setting.of(group, shelf)
        left, poor = setting.payable(group.experiments)
        begun = setting.begun(left, keeper)
    except Exception as error:
        yield from ((one, failed(error)) for one in group.experiments)
        return
    yield from ((one, failed(error)) for one, error in poor)
    wanted = group.experiments[0].config.execution.devices
    room = _room(setting.program, setting.weights, len(left), wanted)
    fleet = Fleet(setting.program, *room, group.one_dataset)
    save = None if keeper is None else setting.saver(keeper)
    waiting = _alike(left, begun)
    while waiting:
        try:
            way = run_crews(fleet, waiting[0], begun, setting.member_of, save, progress.reached)
            for tracks in way:
                ended = [(track.one, setting.ended(track, fleet)) for track in tracks]
                waiting[0] = waiting[0][len(tracks) :]
                yield from ended
            waiting.pop(0)
        except Exception as error:
            if _tells_of_room(error) and fleet.abreast > 1:
                fleet = Fleet(setting.program, fleet.devices, fleet.abreast // 2, group.one_dataset)
                continue
            lost = waiting[0][: fleet.size]
            if not _tells_of_room(error):
                lost = [one for each in waiting for one in each]
            yield from ((one, failed(error)) for one in lost)
            ids = {one.number for one in lost}
            kept = [[one for one in each if one.number not in ids] for each in waiting]
            waiting = [each for each in kept if each]


def _tells_of_room(error: Exception) -> bool:
    """Whether an error is how a lack of room on a device, or on the host, is told."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return "RESOURCE" in str(error)
    return isinstance(error, ConfigError | MemoryError)


def _alike(
    experiments: Sequence[Planned], begun: Callable[[Planned], Begun]
) -> list[list[Planned]]:
    """Those together that stand at one round and are saved at the same ones."""
    found: dict[Any, list[Planned]] = {}
    for one in experiments:
        found.setdefault((begun(one).round, *pauses(one.config)), []).append(one)
    return list(found.values())


def _room(program: Program, weights: Any, experiments: int, wanted: int | None) -> tuple[int, int]:
    """Devices that share the experiments, and experiments abreast on each."""
    devices = device_count(wanted, max(experiments, 1))
    if program.plan.target == CPU:  # one after another is faster there
        return devices, 1
    fits = clients_that_fit(program, weights) // program.plan.chunk
    return devices, max(1, min(fits, _MOST_ABREAST, -(-experiments // devices)))


@dataclasses.dataclass(frozen=True)
class _Setting:
    """What the experiments of a group have in common.

    Attributes:
      group: they.
      shelf: of data sets and partitions.
      program: of each, planned for one device.
      weights: that the first of them starts from.
      batch: test samples that are evaluated at once.
    """

    group: Group
    shelf: Shelf
    program: Program
    weights: Any
    batch: int

    @classmethod
    def of(cls, group: Group, shelf: Shelf) -> "_Setting":
        """Plans the program; the test set is cut for the group's own model."""
        blueprint = shelf.blueprint(group.experiments[0].config)
        shape = blueprint.dataset.input_shape
        batch = evaluation_batch(blueprint.model, blueprint.shapes, shape)
        first = shelf.member(blueprint, group, batch)
        # Slots of several experiments in one loop would wait for those of each other.
        program = blueprint.program(first, group.max_size, may_pack=False)
        return cls(group, shelf, program, first.weights, batch)

    def payable(
        self, experiments: Sequence[Planned]
    ) -> tuple[list[Planned], list[tuple[Planned, ConfigError]]]:
        """Experiments whose budget pays for them, and the others, each with the error."""
        good, poor = [], []
        for one in experiments:
            try:
                check_budget(one.config, self.program, self.weights)
                good.append(one)
            except ConfigError as error:
                poor.append((one, error))
        return good, poor

    def member_of(self, one: Planned) -> Member:
        """What an experiment is made of."""
        return self.shelf.member(self.shelf.blueprint(one.config), self.group, self.batch)

    def experiment(self, one: Planned, member: Member) -> Experiment:
        """An experiment by itself."""
        own = self.program.with_inputs(settings=member.settings, test=member.test)
        plan = self.shelf.blueprint(one.config)
        return Experiment(
            *(one.config, plan.dataset, plan.partition, own, self.weights, plan.network),
            self.shelf.init_checksum(one.config),
        )

    def begun(
        self, experiments: Sequence[Planned], keeper: Keeper | None
    ) -> Callable[[Planned], Begun]:
        """What an earlier start has done of each."""
        found = {
            one.number: keeper.begun(one, self.experiment(one, self.member_of(one)))
            for one in experiments
            if keeper is not None and keeper.has(one)
        }
        return lambda one: found.get(one.number, Begun())

    def saver(self, keeper: Keeper) -> Callable[[Track, State], None]:
        """Saves the state of an experiment on its way."""

        def save(track: Track, state: State) -> None:
            experiment = self.experiment(track.one, track.member)
            clients = _client_rows(experiment, track)
            keeper.save(track.one, experiment, state, track.records, clients)

        return save

    def ended(self, track: Track, fleet: Fleet) -> Ended:
        """What came of an experiment."""
        experiment, outcome = self.experiment(track.one, track.member), track.outcome
        summary = summary_of(experiment, outcome, compile_seconds=fleet.compile_seconds)
        evaluation = evaluation_of(experiment, outcome)
        return Ended(outcome.records, summary, evaluation, _client_rows(experiment, track))


def _client_rows(experiment: Experiment, track: Track) -> list[dict[str, Any]]:
    """How the clients of an experiment fared, in what an earlier start has done too."""
    if not experiment.config.evaluate_clients:
        return []
    new = {at: found for at, found in track.evaluations.items() if at > track.begun.round}
    rows = [row for at, found in new.items() for row in client_rows(experiment, at, found)]
    return [*track.begun.clients, *rows]
