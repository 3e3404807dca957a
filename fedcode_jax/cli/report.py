"""``fedcode report``: tables and plots that compare runs."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import tyro

from fedcode_jax import drawing
from fedcode_jax.cli.words import check_names


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Compare runs: write tables (Markdown, LaTeX, CSV), plots (PNG, PDF), and a page with both.

    Runs whose settings differ in nothing but the seed are one row: a mean and a standard
    deviation. Rows are compared with a reference seed by seed, with confidence intervals, and
    those that are Pareto-best are marked. Runs that are unfinished, interrupted or diverged are
    counted, and are in no mean. The same settings and seed in two folders are refused.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, or folders that contain run folders at any depth, such as that of a sweep."""
    out: Path = Path("report")
    """Folder to write report.md, the tables and the plots to."""
    by: tuple[str, ...] = ()
    """Settings to group by and to label with, such as algorithm.name client_period, instead of all
    that differ; runs of one group that differ in others are averaged, and the page says so."""
    target: float | None = None
    """Accuracy to reach, such as 0.95: adds the rounds, bytes and simulated time until then."""
    against: str | None = None
    """What rows are compared with: the label of a row, or a setting that it has, such as
    num_clusters=8; several settings in one pair of quotes. None: FedAvg with floats both ways if
    there is one, else the row that sends most bytes."""
    width: str = "page"
    """Width of the plots in a paper of two columns: column (3.4 inches) or page (7)."""
    overwrite: bool = False
    """Replace an earlier report in the same folder."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Args:
      arguments: what follows ``fedcode report``.

    Returns:
      0.

    Raises:
      FedcodeError: runs that cannot be read or compared, or a report that would be overwritten.
    """
    check_names(ReportOptions, arguments)
    options = tyro.cli(
        ReportOptions,
        prog="fedcode report",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )

    from rich.console import Console

    from fedcode_jax.results.report import PAGE, for_terminal, write_report

    table = write_report(
        options.folders,
        options.out,
        by=options.by,
        target=options.target,
        against=options.against,
        width=cast("drawing.Width", options.width),
        overwrite=options.overwrite,
    )
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(for_terminal(table, console.width))
    console.print(f"\n{options.out / PAGE}", markup=False, highlight=False, soft_wrap=True)
    return 0
