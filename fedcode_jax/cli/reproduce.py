"""``fedcode reproduce``: the paper's experiments, beside its published figures."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from fedcode_jax.cli.words import check_names
from fedcode_jax.errors import ConfigError

if TYPE_CHECKING:
    from fedcode_jax.paper import Expected

PAGE = "report.md"


@dataclasses.dataclass(frozen=True)
class ReproduceOptions:
    """Run the experiments behind FedCode's published figures, and set ours beside them.

    Says first how long it may take, from rounds that it times. Then a sweep for each task: FedAvg,
    FedCode, FedZip, weight clustering, skip and compressed changes, IID and not, over seeds; and
    FedCode with each way of the published program that differs from ours. What is finished is not
    run again: start the same command again to go on. The folder gets report.md, and for each task
    a sweep's folder with a report of its own.
    """

    scale: str = "cpu"
    """smoke (5 minutes on two cores, no download), cpu (45 minutes, CIFAR-10), full (days on a
    GPU), or another file in the folder of the experiments."""
    folder: Path | None = None
    """Folder of the experiments; None: benchmarks/paper here, else those that come with us."""
    data: tuple[str, ...] = ()
    """Files in place of data sets that would be downloaded, such as cifar10=cifar10.npz."""
    data_dir: str | None = None
    """Folder of data sets that are prepared, as data.dir; None: tensorflow-datasets' own."""
    out: Path | None = None
    """Folder to write to; None: reproduced/<scale>."""
    plan: bool = False
    """Say what there is to do and how long it may take, and end."""
    quiet: bool = False
    """Print the folder of the page alone."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Args:
      arguments: what follows ``fedcode reproduce``.

    Returns:
      0, or 1 if an experiment diverged or failed.

    Raises:
      FedcodeError: a scale, a file or a data set that cannot be used.
    """
    check_names(ReproduceOptions, arguments)
    options = tyro.cli(
        ReproduceOptions,
        prog="fedcode reproduce",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    from fedcode_jax import paper as reproduction
    from fedcode_jax.results.writing import check_writable, named, write_atomically

    paper = reproduction.read(options.scale, options.folder, _data(options))
    out = options.out or Path("reproduced", options.scale)
    check_writable(out)

    import jax
    from rich.console import Console

    from fedcode_jax.results import installed_versions
    from fedcode_jax.results.sweep_display import SweepProgress

    console = Console(width=None if sys.stdout.isatty() else 200)
    if options.plan or not options.quiet:
        console.print(said(reproduction.expected(paper, out)), highlight=False)
    if options.plan:
        return 0
    runs, reports = {}, []
    for task in paper.tasks:
        with SweepProgress(console, quiet=options.quiet) as progress:
            runs[task] = reproduction.run_task(paper, task, out, progress)
        reports += reproduction.write_reports(paper, runs[task], task, out)
    versions = installed_versions(jax.devices()[0].device_kind)
    ran_on = ", ".join(f"{name} {version}" for name, version in versions.items())
    command = shlex.join(["fedcode", "reproduce", *arguments])
    with named(out / PAGE):
        write_atomically(out / PAGE, reproduction.page(paper, runs, reports, command, ran_on))
    console.print(f"{out / PAGE}", markup=False, highlight=False, soft_wrap=True)
    states = [run.summary["status"] for found in runs.values() for run in found.values()]
    return 0 if set(states) == {"completed"} else 1


def said(plan: "Sequence[Expected]") -> str:
    """What there is to do, a line a task."""
    lines = [
        f"{one.task}: {one.left} of {one.experiments} experiments to run, about "
        f"{max(1, round(one.seconds / 60))} min (a round of FedAvg takes "
        f"{one.round_seconds:.2g} s, its program {one.compile_seconds:.0f} s to compile)"
        for one in plan
    ]
    together = sum(one.seconds for one in plan) / 60
    return "\n".join([*lines, f"together about {max(1, round(together))} min"])


def _data(options: ReproduceOptions) -> dict[str, dict[str, Any]]:
    """By name of a data set, what is taken in its place."""
    found: dict[str, dict[str, Any]] = {}
    for text in options.data:
        name, equals, path = text.partition("=")
        if not (equals and name and Path(path).is_file()):
            raise ConfigError(
                f"data: {text!r} cannot be used; give NAME=FILE with a file that is there, such as "
                "cifar10=cifar10.npz"
            )
        found[name] = {"data.name": "npz", "data.path": [path]}
    if options.data_dir is not None:
        for name in ("cifar10", "cifar100", "speech_commands"):
            found.setdefault(name, {"data.dir": options.data_dir})
    return found
