"""``fedcode bench``: how fast this machine runs an experiment, and what another would take."""

import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fedcode_jax.cli.options import Options, parse
from fedcode_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class BenchOptions(Options):
    """Measure how fast this machine runs an experiment, or compile it for one that is not here.

    Without options: FedCode on scikit-learn's handwritten digits. Times one round and each of
    its parts (local training, codebooks and codes, aggregation, evaluation), and holds them
    against what the same devices reach in a plain matrix product and a plain copy. Nothing of
    a run is written.

    With --target, for a machine that is not here: compiles a round and its parts for it, and says
    which plan suits it, whether a round fits its memory, and how many kernels, operations and bytes
    it is. Nothing runs; ask it before queueing a job.
    """

    target: str | None = None
    """A machine to compile for instead of measuring this one: a GPU (a100, b200, h100, h200), a TPU
    (v2, v3, v4, v5e, v5p, v6e, tpu7x) or a topology of them (v5e:4x4), or a file that describes a
    GPU to XLA. Needs the packages of fedcode_jax[gpu] or [tpu], and no such machine."""
    repeats: int = 5
    """Timed calls of everything, in turns, after one that does not count."""
    json: Path | None = None
    """File for every sample and figure, with the command and versions; it is replaced."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Args:
      arguments: what follows ``fedcode bench``.

    Returns:
      0.

    Raises:
      FedcodeError: a setting or a data set that cannot be used.
    """
    options = parse_bench("fedcode bench", arguments)

    # After the options are known to be good: JAX takes a second or two to import.
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200)
    if options.target is not None:
        _stay_off_accelerators()
        from fedcode_jax.bench import compile_for, target_table

        record = compile_for(options.experiment, options.target)
        console.print(target_table(record))
    else:
        from fedcode_jax.bench import measure, speed_table

        record = measure(options.experiment, options.repeats)
        console.print(speed_table(record))
    if options.json is not None:
        record = {"command": shlex.join(["fedcode", "bench", *arguments]), **record}
        try:
            options.json.write_text(json.dumps(record, indent=1) + "\n")
        except OSError as error:
            raise ConfigError(f"json: {options.json}: cannot be written: {error}") from error
    return 0


def _stay_off_accelerators() -> None:
    """Before JAX begins: compiling needs the CPU alone, and another job may have the rest."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def parse_bench(command: str, arguments: Sequence[str]) -> BenchOptions:
    """Reads the options, and checks them before anything is measured.

    Args:
      command: the command as typed, e.g. ``fedcode bench``.
      arguments: what follows it.

    Returns:
      The options.

    Raises:
      ConfigError: a setting that cannot be used.

    Example:
      >>> parse_bench("fedcode bench", ["--repeats", "3", "--model.name", "mlp"]).repeats
      3
      >>> parse_bench("fedcode bench", ["--repeats", "0"])
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: repeats: 0 cannot be used; ...
    """
    options = parse(BenchOptions, command, arguments)
    if options.repeats < 1:
        raise ConfigError(
            f"repeats: {options.repeats} cannot be used; it must be a whole number of at least 1"
        )
    path = options.json
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise ConfigError(f"json: {path} cannot be written; {what}")
    return options
