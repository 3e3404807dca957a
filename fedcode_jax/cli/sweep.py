"""``fedcode sweep``: many experiments in few programs."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from fedcode_jax.cli.options import Options, parse
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.config.axes import load_sweep, parse_axis, points
from fedcode_jax.errors import ConfigError

DEFAULT_OUT = "sweeps/sweep"


@dataclasses.dataclass(frozen=True)
class SweepOptions(Options):
    """Run an experiment for every combination of some settings, or for some drawn at random.

    Experiments that differ in seed, partition, learning rate, schedule or network alone run as one
    program. The folder --out, sweeps/sweep if it is not given, gets results.csv, results.parquet
    and a run folder for each experiment; start the same command again to go on with a sweep that
    was interrupted, or to try again what failed. fedcode report draws it.
    """

    axis: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting and its values, such as seed=0,1,2; settings that change together, such as
    schedule.server_period,schedule.client_period=5:2,10:5; or a range to draw from, such as
    local.learning_rate=1e-4..1e-2. May be given several times, or as axes in --config."""
    samples: int | None = None
    """Experiments to draw at random; None: all combinations."""
    search_seed: int = 0
    """Seed of what is drawn."""
    share: str | None = None
    """K/N: run the K-th of N shares, K from 1 to N; any number of them may run at the same time,
    here or on machines that share --out. None: all."""
    cluster: str | None = None
    """Run on the workers of a Dask cluster: the address of its scheduler, such as
    tcp://host:8786."""
    quiet: bool = False
    """Print the closing table alone."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Args:
      arguments: what follows ``fedcode sweep``.

    Returns:
      0, or 1 if an experiment diverged or failed.

    Raises:
      FedcodeError: a setting, an axis or a folder that cannot be used.
    """
    axes: dict[Any, Any] = {}
    beside: dict[str, Any] = {}

    def load(path: str) -> ExperimentConfig:
        config, others = load_sweep(path)
        beside.update(others)
        return config

    options = parse(SweepOptions, "fedcode sweep", arguments, load=load)
    axes |= beside.get("axes", {})
    for text in options.axis:
        names, values = parse_axis(text)
        key: Any = names if len(names) > 1 else names[0]
        rows: Any = values
        if len(names) == 1 and isinstance(values, list):
            rows = [row[0] for row in values]
        if text.partition("=")[0] in {
            axis.partition("=")[0] for axis in options.axis if axis != text
        }:
            raise ConfigError(f"axis: {', '.join(names)} is given twice; list all values in one")
        axes[key] = rows
    samples = options.samples if options.samples is not None else beside.get("samples")
    config = options.experiment
    # All mistakes in axes come to light before JAX is loaded.
    base = dataclasses.replace(config, out=None)
    points(base, axes, samples=samples, seed=options.search_seed)

    from rich.console import Console

    from fedcode_jax import experiment
    from fedcode_jax.results import FAILED
    from fedcode_jax.results.sweep_display import SweepProgress, sweep_table

    console = Console(width=None if sys.stdout.isatty() else 200)
    with SweepProgress(console, quiet=options.quiet) as progress:
        result = experiment.sweep(
            base,
            axes,
            samples=samples,
            search_seed=options.search_seed,
            out=config.out or DEFAULT_OUT,
            share=options.share,
            cluster=options.cluster,
            observer=progress,
        )
    if result.runs:
        console.print(sweep_table(result.table, list(result.runs[0].point)))
    if result.repeated:
        console.print(f"{result.repeated} more would have come to the same as another of these")
    console.print(f"folder  {result.folder}", markup=False, highlight=False, soft_wrap=True)
    bad = [run.summary["status"] for run in result.runs if run.summary["status"] != "completed"]
    if bad:
        again = "; the same command tries what failed again" if FAILED in bad else ""
        told = f"{len(bad)} of {len(result.runs)} experiments: {_counts(bad)}{again}"
        print(f"fedcode: {told}", file=sys.stderr)
    return 1 if bad else 0


def _counts(statuses: Sequence[str]) -> str:
    return ", ".join(f"{statuses.count(each)} {each}" for each in sorted(set(statuses)))
