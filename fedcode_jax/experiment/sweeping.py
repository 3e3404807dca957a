"""Runs a sweep: many experiments in few programs, each with a folder of its own."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from fedcode_jax import config as configs
from fedcode_jax import randomness, results
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.config.axes import Axes, distinct, points
from fedcode_jax.devices import claim_cores
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.cache import keep_compiled_programs
from fedcode_jax.experiment.clients_table import check_clients
from fedcode_jax.experiment.cluster import connected
from fedcode_jax.experiment.given import Given, named
from fedcode_jax.experiment.group_run import failed, run_group
from fedcode_jax.experiment.grouping import Planned, Shelf, grouped
from fedcode_jax.experiment.keeping import Keeper
from fedcode_jax.experiment.ledger import Ledger
from fedcode_jax.experiment.parts import Parts
from fedcode_jax.experiment.saving import pauses
from fedcode_jax.experiment.shares import Share, divided, read_share
from fedcode_jax.experiment.sweep_logs import SweepLogs
from fedcode_jax.experiment.sweep_result import SweepObserver, SweepResult
from fedcode_jax.loggers import Logger
from fedcode_jax.names import PARTS, is_given
from fedcode_jax.simulation import processes


@randomness.standardised
def sweep(
    config: ExperimentConfig,
    axes: Axes | Sequence[Mapping[str, Any]],
    *,
    samples: int | None = None,
    search_seed: int = 0,
    out: str | None = None,
    share: str | tuple[int, int] | None = None,
    cluster: Any = None,
    observer: SweepObserver | None = None,
    loggers: Sequence[Logger] = (),
    quiet: bool = False,
    **given: Unpack[Given],
) -> SweepResult:
    """Runs an experiment for every combination of some settings, for some drawn, or as listed.

    Experiments that differ in nothing that changes a shape (seed, partition, learning rate,
    schedule, network) are one program: side by side under ``vmap`` on a GPU or TPU, one after
    another on each core of a CPU, and over all devices. The others are grouped, and the groups run
    one after another. One that diverges or fails is a row that says so, and the others go on.

    Args:
      config: what is not on an axis; its ``out`` is ignored.
      axes: values by setting, or rows of values by a tuple of settings that change together; a
        setting may be a whole section, with mappings as its values. Combinations that come to the
        same are run once. Or a list of the experiments, each a mapping of settings to values.
      samples: experiments to draw at random; None for all combinations.
      search_seed: of the draws.
      out: folder for ``results.csv``, ``results.parquet``, and a run folder for each experiment in
        ``runs/``. If it holds this very sweep, what is finished there is not run again; what failed
        is, and what has checkpoints goes on from the latest.
      share: which part of the sweep to run, ``(K, N)`` or ``K/N``, K from 1 to N: any number of
        processes, also on several machines that see ``out``, may run a share each at the same time.
      cluster: runs the experiments on the workers of a Dask cluster: the address of its scheduler,
        or a ``distributed.Client``. What comes of them is sent back and written here.
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
    every = points(base, axes, samples=samples, seed=search_seed)
    # What is listed one by one is run as it is listed.
    found = distinct(every) if isinstance(axes, Mapping) else every
    plan = [Planned(number, point, one) for number, (point, one) in enumerate(found)]
    part = read_share(share)
    _check_used(base, plan)
    _check_shared(plan, part, out, cluster)
    logs = SweepLogs(loggers, out)
    for one in plan:
        check_clients(one.config, out)
        logs.check(one.config)
    if observer is None and not quiet:
        observer = results.notebook_sweep()
    with contextlib.ExitStack() as stack:
        client = None if cluster is None else stack.enter_context(connected(cluster, given))
        ledger = Ledger.opened(base, plan, divided(plan, part), logs, out, part)
        stack.callback(ledger.close)
        if observer is not None:
            stack.callback(observer.finished)
        run = _run_here if client is None else client.run
        run(ledger, given, observer)
    return dataclasses.replace(ledger.result, repeated=len(every) - len(found))


def _run_here(ledger: Ledger, given: Given, observer: SweepObserver | None) -> None:
    """Runs what is left, group after group; a data set leaves the devices with its last group."""
    shelf = Shelf(Parts(given))
    groups, lost = grouped(ledger.left, shelf)
    progress = ledger.begin(observer, len(groups))
    keeper = None if ledger.folder is None else Keeper(ledger.folder)
    for one, error in lost:
        ledger.finish(one, failed(error))
        progress.reached([one], 1.0)
    shelf.keep(groups)
    while groups:
        for one, ended in run_group(groups[0], shelf, progress, keeper):
            ledger.finish(one, ended)
            progress.reached([one], 1.0)
        del groups[0]
        shelf.keep(groups)


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


def _check_shared(
    plan: Sequence[Planned], share: Share | None, out: str | None, cluster: Any
) -> None:
    """Checks that what several processes are to do can be put together."""
    if share is not None and out is None:
        raise ConfigError("share: needs the folder that the shares have in common; set out")
    if cluster is None:
        return
    if share is not None:
        raise ConfigError("share: the workers of a cluster divide a sweep themselves; give one")
    if any(pauses(one.config) for one in plan):
        raise ConfigError(
            "checkpoint_every, checkpoint_seconds: have no use with a cluster, whose workers need "
            "not see the folder; leave them out, or run the sweep in shares"
        )
