"""``fedcode export``: the trained model of a run as files that other programs read."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from fedcode_jax.cli.words import check_names


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Write the model that a run has trained, for use elsewhere or as the --init of another run.

    model.safetensors holds its variables as float32, by path. model.fedcode is the model as the
    run's algorithm sends it, compressed, and model.json says which variables lie in it. The run's
    data set must be there, as for --resume.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run, which must have a checkpoint; a run keeps one at its end."""
    out: Path | None = None
    """Folder to write to; None: that of the run."""
    form: Literal["both", "safetensors", "compressed"] = "both"
    """What to write."""
    weights: Literal["deployed", "server"] = "deployed"
    """What model.safetensors holds: what clients would receive, or the server's own weights.
    model.fedcode holds what clients would receive."""
    round: int | None = None
    """Round of the checkpoint; None: the latest."""
    overwrite: bool = False
    """Replace files of an earlier export."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Args:
      arguments: what follows ``fedcode export``.

    Returns:
      0.

    Raises:
      FedcodeError: a run whose model cannot be read, or files that would be overwritten.
    """
    check_names(ExportOptions, arguments)
    options = tyro.cli(
        ExportOptions,
        prog="fedcode export",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )

    from fedcode_jax import experiment, results

    written = experiment.export(
        options.run,
        options.out,
        form=options.form,
        weights=options.weights,
        round=options.round,
        overwrite=options.overwrite,
    )
    for path, (_, about) in written.items():
        size = results.format_bytes(path.stat().st_size)
        accuracy = results.format_accuracy(about["accuracy"])
        print(
            f"{path}: {size}, {about['weights']} weights of round {about['round']}, "
            f"accuracy {accuracy}"
        )
    notes = {about["note"] for _, about in written.values() if "note" in about}
    for note in notes:
        print(f"note: {note}")
    return 0
