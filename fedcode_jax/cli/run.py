"""``fedcode run``: one experiment, its progress and its closing table."""

import contextlib
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fedcode_jax.cli.options import Options, parse
from fedcode_jax.cli.words import Alone
from fedcode_jax.config import replace
from fedcode_jax.errors import ConfigError, ElsewhereError

_EXIT_CODES = {"completed": 0, "diverged": 1}
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
    options = parse(RunOptions, "fedcode run", arguments)
    config = options.experiment
    if options.resume is not None and options.overwrite:
        raise ConfigError("overwrite: has no use with --resume, which goes on; leave one out")
    if config.out is None:
        name = f"{config.algorithm.name}-{config.data.name}"
        config = replace(config, {"out": "runs/" + re.sub(r"[^\w.-]+", "-", name)})

    # After the options are known to be good: JAX takes a second or two to import.
    first = _joined(options)
    from rich.console import Console

    from fedcode_jax import experiment
    from fedcode_jax.results import ProgressObserver, closing_table

    # A log file has no width of its own; paths are not to be folded at rich's 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 200)
    observer = ProgressObserver(console) if first and not options.quiet else None
    try:
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
    except ElsewhereError:
        if first:
            raise
        return 2  # who failed says so, and the first process
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
            "network.deadline or faster links, or less network.dropout and loss",
            file=sys.stderr,
        )
    return code


def _joined(options: RunOptions) -> bool:
    """Joins the other processes, if there are any; whether this one is the first of them."""
    explicit = (options.coordinator, options.num_processes, options.process_id)
    if not options.distributed and explicit == (None,) * 3:
        return True
    from fedcode_jax.simulation import processes
    from fedcode_jax.simulation.joining import join

    join(*explicit)
    return processes.is_first()
