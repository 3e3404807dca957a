"""Runs a sweep: many experiments in few programs, each with a folder of its own."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Unpack

import jax

from fedcode_jax import config as configs
from fedcode_jax import randomness, results
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.config.axes import Axes, points
from fedcode_jax.devices import claim_cores
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.cache import keep_compiled_programs
from fedcode_jax.experiment.clients_table import check_clients
from fedcode_jax.experiment.given import Given, named
from fedcode_jax.experiment.group_run import Ended, run_group
from fedcode_jax.experiment.grouping import Planned, Shelf, grouped
from fedcode_jax.experiment.parts import Parts
from fedcode_jax.experiment.sweep_logs import SweepLogs
from fedcode_jax.loggers import Logger
from fedcode_jax.names import PARTS, is_given
from fedcode_jax.simulation import processes


class SweepObserver(Protocol):
    """Who watches a sweep."""

    def started(self, total: int, finished: int, groups: int) -> None:
        """Called once: experiments, those that an earlier start finished, and programs."""

    def advanced(self, experiments: float) -> None:
        """Called with every step: experiments done since the last call, parts of one too."""

    def finished(self) -> None:
        """Called once, at the end."""


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """One experiment of a sweep.

    Attributes:
      point: value by setting of the axes.
      config: all its settings.
      records: one dict a round, as in ``metrics.jsonl``.
      summary: as in ``summary.json``; its ``status`` is ``completed``, ``diverged``, or ``failed``
        with an ``error``.
      folder: where it was written, or None.
    """

    point: dict[str, Any]
    config: ExperimentConfig
    records: list[dict]
    summary: dict[str, Any]
    folder: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What a sweep gives.

    Attributes:
      runs: in the order of the grid or of the draws.
      folder: where they were written, or None.
    """

    runs: list[SweepRun]
    folder: pathlib.Path | None

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row an experiment, as in ``results.csv``."""
        return [results.sweep_row(i, run.point, run.summary) for i, run in enumerate(self.runs)]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """For IPython: the table of the experiments."""
        del include, exclude
        return results.shown(results.sweep_table(self.table, list(self.runs[0].point)), {})


@randomness.standardised
def sweep(
    config: ExperimentConfig,
    axes: Axes | Sequence[Mapping[str, Any]],
    *,
    samples: int | None = None,
    search_seed: int = 0,
    out: str | None = None,
    observer: SweepObserver | None = None,
    loggers: Sequence[Logger] = (),
    quiet: bool = False,
    **given: Unpack[Given],
) -> SweepResult:
    """Runs an experiment for every combination of some settings, for some drawn, or as listed.

    Experiments that differ in nothing that changes a shape (seed, partition, learning rate,
    schedule, network) are one program: side by side under ``vmap`` on a GPU or TPU, one after
    another on each core of a CPU, and over all devices. The others are grouped, and the groups run
    one after another. One that diverges or cannot be built is a row that says so.

    Args:
      config: what is not on an axis; its ``out`` is ignored.
      axes: values by setting, or rows of values by a tuple of settings that change together; a
        setting may be a whole section, with mappings as its values. Or a list of the experiments,
        each a mapping of settings to values.
      samples: experiments to draw at random; None for all combinations.
      search_seed: of the draws.
      out: folder for ``results.csv``, ``results.parquet``, and a run folder for each experiment in
        ``runs/``. If it holds this very sweep, what is finished there is not run again.
      observer: is told of the progress; None for a bar in a notebook, and nothing elsewhere.
      loggers: of your own, told of one run after another, each when it is done, beside those that
        ``config.log`` names.
      quiet: shows nothing in a notebook either.
      **given: parts of your own for all experiments, as of ``run``.

    Returns:
      The result.

    Raises:
      ConfigError: a setting or value that cannot be used, or a folder that holds something else.

    Example:
      >>> result = sweep(ExperimentConfig(rounds=1), {"seed": [0, 1]})
      >>> [run.summary["status"] for run in result.runs]
      ['completed', 'completed']
    """
    claim_cores()
    if processes.several():
        raise ConfigError("sweep: runs in one process; start it without --distributed")
    keep_compiled_programs()
    base = named(dataclasses.replace(config, out=None), given)
    plan = [
        Planned(number, point, one)
        for number, (point, one) in enumerate(points(base, axes, samples=samples, seed=search_seed))
    ]
    _check_used(base, plan)
    logs = SweepLogs(loggers, out)
    for one in plan:
        check_clients(one.config, out)
        logs.check(one.config)
    if observer is None and not quiet:
        observer = results.notebook_sweep()
    folder, done = _opened(out, base, plan)
    shelf = Shelf(Parts(given))
    groups, failed = grouped([one for one in plan if one.number not in done], shelf)
    if observer is not None:
        observer.started(len(plan), len(done), len(groups))

    def finish(one: Planned, ended: Ended) -> None:
        path = None
        if folder is not None:
            path = folder.write(one.number, configs.to_yaml(one.config), **vars(ended))
        done[one.number] = SweepRun(one.point, one.config, ended.records, ended.summary, path)
        logs.write(one, ended, path)

    def fail(one: Planned, error: Exception) -> None:
        finish(one, Ended([], {"status": "failed", "error": str(error), "rounds": 0}))
        advanced(1)

    advanced = observer.advanced if observer is not None else lambda experiments: None
    try:
        for one, error in failed:
            fail(one, error)
        for group in groups:
            run_group(group, shelf, finish, fail, advanced)
    finally:
        if folder is not None:
            rows = [results.sweep_row(i, done[i].point, done[i].summary) for i in sorted(done)]
            folder.write_table(rows)
            folder.close()
        if observer is not None:
            observer.finished()
    runs = [done[one.number] for one in plan]
    return SweepResult(runs, None if folder is None else folder.path)


def _opened(
    out: str | None, base: ExperimentConfig, plan: Sequence[Planned]
) -> tuple[results.SweepFolder | None, dict[int, SweepRun]]:
    """The folder, if there is to be one, and by number what is finished in it."""
    if out is None:
        return None, {}
    versions = results.installed_versions(jax.devices()[0].device_kind)
    folder = results.SweepFolder.open(out, _description(base, plan), versions)
    earlier = {one.number: (one, folder.read(one.number)) for one in plan}
    done = {
        number: SweepRun(one.point, one.config, *kept, folder.of(number))
        for number, (one, kept) in earlier.items()
        if kept
    }
    return folder, done


def _check_used(base: ExperimentConfig, plan: Sequence[Planned]) -> None:
    """Checks that a part that was given is in some experiment: axes may name others."""
    names = configs.flattened(configs.to_dict(base))
    used = [configs.flattened(configs.to_dict(one.config)) for one in plan]
    for part, setting in PARTS.items():
        name = names[setting]
        given_alone = isinstance(name, str) and is_given(name)
        if given_alone and all(each[setting] != name for each in used):
            raise ConfigError(
                f"{part}: was given, and no experiment has it: all have {setting} on an axis; "
                "leave one of the two out"
            )


def _description(base: ExperimentConfig, plan: Sequence[Planned]) -> dict[str, Any]:
    """What makes a sweep this one: its settings, and the points of all its experiments."""
    settings = configs.to_dict(base)
    del settings["log"]  # it may go on with others
    return {
        "settings": settings,
        "points": [configs.plain(one.point) for one in plan],
    }
