"""``fedcode advise``: which schedule for my network."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fedcode_jax.cli.options import Options, parse
from fedcode_jax.config import ExperimentConfig
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

    --bytes-only tells bytes and seconds alone, of a model of --parameters values, in seconds and
    without data. --after RUN goes on from the run of a stage: it says whether to lengthen the
    period, to stay or to go back, and writes the config of the next stage.
    """

    floor: float | None = None
    """Accuracy to keep, such as 0.95."""
    loss: float | None = None
    """Or: accuracy that may be lost against FedAvg; 0.02, two points, if neither is given."""
    minimise: Literal["bytes", "seconds"] = "bytes"
    """What is to be little: bytes, or simulated seconds."""
    seeds: int = 5
    """Seeds of the choices that come into question last; all others have two."""
    bytes_only: bool = False
    """Tell bytes and seconds a round of every choice, without data or training; nothing is
    written."""
    parameters: int | None = None
    """Values of the model, for --bytes-only."""
    after: Path | None = None
    """Folder of the run of the stage before; --floor is what must be kept."""
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
    _check_together(options)
    if options.bytes_only:
        return _bytes_only(options)
    if options.after is not None:
        return _after(options)
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


def _check_together(options: AdviseOptions) -> None:
    """Options that have no use beside others are no silent ones."""
    given = {
        name: getattr(options, name) != field.default
        for name, field in AdviseOptions.__dataclass_fields__.items()
    }
    for mode, useless in (
        ("bytes_only", ("floor", "loss", "after", "seeds", "overwrite")),
        ("after", ("loss", "minimise", "seeds")),
    ):
        for name in (name for name in useless if given[mode] and given[name]):
            raise ConfigError(f"{name}: has no use with --{mode.replace('_', '-')}; leave it out")
    if options.bytes_only == (options.parameters is None):
        what = "is needed with" if options.bytes_only else "has no use without"
        raise ConfigError(
            f"parameters: {what} --bytes-only; give the number of values of the model"
        )
    if options.after is None:
        return
    if options.floor is None:
        raise ConfigError("after: needs --floor, the accuracy to keep")
    if dataclasses.replace(options.experiment, out=None) != ExperimentConfig():
        raise ConfigError("after: cannot be used with settings or --config; those of the run count")


def _bytes_only(options: AdviseOptions) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from fedcode_jax import advice as advising
    from fedcode_jax.results.units import format_bytes, format_seconds

    found = advising.expected(options.experiment, options.parameters or 0)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("choice", overflow="fold")
    for head in ("up", "down", "time of a round", "run, all clients", "fewer than FedAvg"):
        table.add_column(head, justify="right", no_wrap=True)
    for each in sorted(found, key=lambda one: getattr(one, options.minimise)):
        table.add_row(
            str(each.choice),
            *(format_bytes(count) for count in (each.uplink, each.downlink)),
            format_seconds(each.seconds),
            format_bytes(each.bytes),
            f"{found[0].bytes / each.bytes:.1f}x",
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    notes = (
        "up and down: of a client in a round, the mean over the rounds, by the published formulas "
        "of codes of fixed width; algorithm.coding conditional sends about half of them",
        "time: of messages and of fitting codebooks; training takes none here",
    )
    for note in notes:
        console.print(note, highlight=False)
    return 0


def _after(options: AdviseOptions) -> int:
    from rich.console import Console
    from rich.markdown import Markdown

    from fedcode_jax import advice as advising
    from fedcode_jax import config as configs
    from fedcode_jax.advice.advising import check
    from fedcode_jax.config.files import OF_RUN
    from fedcode_jax.results.report.runs import read_run
    from fedcode_jax.results.writing import named, write_atomically

    assert options.after is not None
    assert options.floor is not None
    folder = Path(options.experiment.out or DEFAULT_OUT)
    check(advising.Floor(options.floor), options.minimise, options.seeds)
    if folder.exists() and any(folder.iterdir()) and not options.overwrite:
        raise ConfigError(
            f"out: {str(folder)!r} is not empty; choose another --out, or replace what is there "
            "with --overwrite"
        )
    run = read_run(options.after)
    stage = advising.next_stage(run.records, advising.period_of(run), options.floor)
    text = advising.stage_text(options.after.name, stage)
    config = advising.next_config(run, configs.from_yaml(options.after / OF_RUN), stage)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("next.md", text), (OF_RUN, configs.to_yaml(config))):
        with named(folder / name):
            write_atomically(folder / name, content)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(Markdown(text))
    console.print(f"fedcode run --config {folder / OF_RUN}", markup=False, highlight=False)
    return 0


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
