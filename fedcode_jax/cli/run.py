"""``fedcode run``: one experiment, its progress and its closing table."""

import contextlib
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fedcode_jax.cli.options import Options, parse
from fedcode_jax.cli.words import Alone, options_of
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError

if TYPE_CHECKING:
    from fedcode_jax.simulation.lifeline import Lifeline

Explicit = tuple[str | None, int | None, int | None]

_EXIT_CODES = {"completed": 0, "diverged": 1}
_PATIENCE = 60
"""Seconds in which a process whose options cannot be used looks for others, to tell them."""
_OF_SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


@dataclasses.dataclass(frozen=True)
class RunOptions(Options):
    """Run one experiment.

    Without options: FedCode on scikit-learn's handwritten digits. A run writes config.yaml,
    metrics.jsonl, metrics.csv, summary.json, evaluation.json (accuracy by class and client),
    curves.png, partition.txt, partition.png, checkpoints/, and what --evaluate-clients and --log
    ask for, into the folder --out, which is runs/<algorithm>-<data> if it is not given.
    """

    overwrite: bool = False
    """Replace the files of an earlier run in the same folder."""
    resume: Path | None = None
    """Folder of a run to go on with, from its latest checkpoint, as its config.yaml says; more
    --rounds may be given beside it."""
    wire_check: bool = False
    """Encode and decode every message for real, and hold the counted sizes against the bytes."""
    check: Annotated[int, Alone(2)] = 0
    """Do the first so many rounds, 2 if no number is given, once more in float64 by NumPy, and
    compare; what differs by more than rounding can ends the run. See SEMANTICS.md."""
    quiet: bool = False
    """Print the closing table alone."""
    distributed: bool = False
    """Share the clients with other processes; start the same command in each. SLURM, Open MPI, TPU
    pods and GKE say which they are; elsewhere give the three options below, which imply it."""
    coordinator: str | None = None
    """HOST:PORT at which process 0 can be reached by the others."""
    num_processes: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Number of this process, from 0."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Args:
      arguments: what follows ``fedcode run``.

    Returns:
      0 completed, 1 diverged, 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP.

    Raises:
      FedcodeError: a setting or a data set that cannot be used.
    """
    try:
        options, config = _read(arguments)
    except ConfigError as error:
        _tell_others(arguments, error)
        raise
    # After the options are known to be good: JAX takes a second or two to import.
    lifeline = None
    if options.distributed or _explicit(options) != (None,) * 3:
        lifeline = _joined(*_explicit(options))
    with contextlib.nullcontext() if lifeline is None else lifeline.watching(options.debug):
        return _run(options, config)


def _read(arguments: Sequence[str]) -> tuple[RunOptions, ExperimentConfig]:
    """The options, and the config with the folder that it is written to."""
    options = parse(RunOptions, "fedcode run", arguments)
    config = options.experiment
    if options.resume is not None and options.overwrite:
        raise ConfigError("overwrite: has no use with --resume, which goes on; leave one out")
    if config.out is None:
        name = f"{config.algorithm.name}-{config.data.name}"
        config = replace(config, {"out": "runs/" + re.sub(r"[^\w.-]+", "-", name)})
    return options, config


def _run(options: RunOptions, config: ExperimentConfig) -> int:
    """Runs, shows what it came to, and gives the exit code."""
    from rich.console import Console

    from fedcode_jax import experiment
    from fedcode_jax.results import ProgressObserver, closing_table
    from fedcode_jax.simulation import processes

    first = processes.is_first()
    # A log file has no width of its own; paths are not to be folded at rich's 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 200)
    observer = ProgressObserver(console) if first and not options.quiet else None
    with observer or contextlib.nullcontext():
        result = experiment.run(
            config,
            observer=observer,
            overwrite=options.overwrite,
            resume=options.resume is not None,
            wire_check=options.wire_check,
            check=options.check,
            quiet=options.quiet,
        )
    status = result.summary["status"]
    code = _OF_SIGNALS[result.summary["signal"]] if status == "interrupted" else _EXIT_CODES[status]
    if not first:
        return code
    network = result.summary["network"]
    console.print(closing_table(result.summary, network=network, folder=result.folder))

    if status != "completed":
        what = {"diverged": "the run diverged: its loss is not finite", "interrupted": status}
        kept = f"; the results so far are in {result.folder}" if result.folder else ""
        print(f"fedcode: {what[status]}{kept}", file=sys.stderr)
    elif result.summary.get("arrived_uploads") == 0:
        print(
            "fedcode: no upload arrived in any round: the model is the initial one; set a longer "
            "network.deadline or faster links, or less network.dropout and loss, or fewer faults",
            file=sys.stderr,
        )
    return code


def _explicit(options: RunOptions) -> Explicit:
    return options.coordinator, options.num_processes, options.process_id


def _joined(
    coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: float = 300
) -> "Lifeline":
    """Joins the other processes, and is connected to them."""
    from fedcode_jax.simulation.joining import join
    from fedcode_jax.simulation.lifeline import Lifeline

    join(coordinator, num_processes, process_id, timeout=timeout)
    return Lifeline(coordinator.rpartition(":")[0] if coordinator else None)


def _tell_others(arguments: Sequence[str], error: ConfigError) -> None:
    """Joins the other processes to tell them of an error in this one's options, if it can."""
    given = dict(options_of(arguments)) if any(map(_is_distributed, arguments)) else {}
    numbers = [given.get(name, ["None"]) for name in ("num_processes", "process_id")]
    if not given or not all(len(n) == 1 and (n == ["None"] or n[0].isdigit()) for n in numbers):
        return
    count, number = (None if n == ["None"] else int(n[0]) for n in numbers)
    address = given.get("coordinator", [None])[0]
    with contextlib.suppress(ConfigError):  # of joining: there may be no others
        lifeline = _joined(address, count, number, _PATIENCE)
        with lifeline.watching("--debug" in arguments):
            raise error


def _is_distributed(word: str) -> bool:
    return word.partition("=")[0] in ("--distributed", "--coordinator")
