"""``fedcode advise``: which schedule for my network."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fedcode_jax.cli.options import Options, parse
from fedcode_jax.errors import ConfigError

DEFAULT_OUT = "advice"
_FILES = ("advice.md", "advice.html", "frontier.png", "config.yaml")


@dataclasses.dataclass(frozen=True)
class AdviseOptions(Options):
    """Find the cheapest schedule that keeps an accuracy on your network.

    Simulates schedules, codebook sizes and skip (nothing sent between calibrations) next to FedAvg,
    over several seeds, and recommends one. Say what your network and devices are by --network.*,
    what is trained by --data.*, --model.* and --local.*. The folder --out, advice if it is not
    given, gets advice.md and advice.html with a staged rollout, frontier.png, config.yaml to run,
    and the simulations; start the same command again to go on after an interruption.
    """

    floor: float | None = None
    """Accuracy to keep, such as 0.95."""
    loss: float | None = None
    """Or: accuracy that may be lost against FedAvg; 0.02, two points, if neither is given."""
    minimise: Literal["bytes", "seconds"] = "bytes"
    """What is to be little: bytes, or simulated seconds."""
    seeds: int = 5
    """Seeds of the choices that come into question last; all others have two."""
    overwrite: bool = False
    """Replace the answer to another question in the same folder; simulations are kept."""
    quiet: bool = False
    """Print the recommendation alone."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Args:
      arguments: what follows ``fedcode advise``.

    Returns:
      0, or 1 if the floor is impossible.

    Raises:
      FedcodeError: a setting or a folder that cannot be used.
    """
    options = parse(AdviseOptions, "fedcode advise", arguments)
    folder = Path(options.experiment.out or DEFAULT_OUT)
    loss = 0.02 if options.floor is None and options.loss is None else options.loss

    from rich.console import Console
    from rich.markdown import Markdown

    from fedcode_jax import advice as advising
    from fedcode_jax import config as configs
    from fedcode_jax import drawing
    from fedcode_jax.results.sweep_display import SweepProgress
    from fedcode_jax.results.writing import check_writable, named, write_atomically

    check_writable(folder)
    floor = advising.Floor(options.floor, loss)
    _check_folder(folder, advising.question(floor, options.minimise), options.overwrite)
    console = Console(width=None if sys.stdout.isatty() else 100)
    config = dataclasses.replace(options.experiment, out=None)
    with SweepProgress(console, quiet=options.quiet) as progress:
        answer = advising.advise(
            config,
            floor=floor,
            objective=options.minimise,
            seeds=options.seeds,
            out=str(folder),
            observer=progress,
        )
    text = advising.markdown(answer)
    picture = drawing.png(advising.plot_choices(answer))
    page, settings = advising.html(text, picture), configs.to_yaml(answer.recommended)
    contents: list[str | bytes] = [text, page, picture, settings]
    for name, content in zip(_FILES, contents, strict=True):
        with named(folder / name):
            write_atomically(folder / name, content)
    shown = text.partition("## What was tried")[0]
    console.print(Markdown(shown))
    console.print(f"folder  {folder}", markup=False, highlight=False, soft_wrap=True)
    return 1 if answer.verdict.status == "impossible" else 0


def _check_folder(folder: Path, question: str, overwrite: bool) -> None:
    """An answer may be written where there is nothing, or an answer to the same question."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / "first").is_dir():
        raise ConfigError(
            f"out: {str(folder)!r} is not empty and holds no advice; choose another --out"
        )
    page = folder / "advice.md"
    if not overwrite and page.exists() and question not in page.read_text(encoding="utf-8"):
        raise ConfigError(
            f"out: {str(folder)!r} answers another question; choose another --out, or replace the "
            "answer with --overwrite"
        )
