"""Writes a report: the tables, the plots, and a page with both."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedcode_jax import drawing
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.results.report import bars, curves, frontier, rendering
from fedcode_jax.results.report.cells import differences_grid, figures_grid
from fedcode_jax.results.report.columns import differences_csv, figures_csv
from fedcode_jax.results.report.groups import Group, group, with_names
from fedcode_jax.results.report.page import CAPTIONS, page_of
from fedcode_jax.results.report.paired import comparisons, quantities
from fedcode_jax.results.report.reference import reference_of
from fedcode_jax.results.report.runs import Run, find, read_run
from fedcode_jax.results.report.standing import measure, standings
from fedcode_jax.results.report.table import Table, check_target, table_of
from fedcode_jax.results.run_files import CONFIG, METRICS, SUMMARY
from fedcode_jax.results.writing import check_writable, named, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Folders = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
PAGE = "report.md"
_VECTORS = tuple(f"{Path(name).stem}.pdf" for name in CAPTIONS)
_TABLES = tuple(
    f"{name}.{kind}" for name in ("table", "differences") for kind in ("md", "tex", "csv")
)
FILES = (PAGE, *_TABLES, *CAPTIONS, *_VECTORS)


def write_report(
    folders: Folders | Mapping[str, Folders],
    out: str | os.PathLike[str] = "report",
    *,
    by: Sequence[str] = (),
    target: float | None = None,
    against: str | None = None,
    width: drawing.Width = "page",
    overwrite: bool = False,
) -> Table:
    """Compares runs: writes a page with tables and plots, these as PDF too, and the tables alone.

    Runs that differ in nothing but their seed are one row, a mean with its standard deviation.
    Runs that did not complete are counted, and are in no mean. The same runs give the same bytes.

    Args:
      folders: run folders, or folders that contain run folders at any depth. Or those of each row
        by its name, in place of rows made of what the runs differ in.
      out: folder of the report.
      by: settings to group by and to label with; empty: all that differ between the runs. Not
        with rows that have names.
      target: accuracy for columns that say when it is first reached.
      against: what rows are compared with, as of ``reference_of``.
      width: of the plots, in a paper of two columns.
      overwrite: replaces an earlier report in the same folder.

    Returns:
      The table.

    Raises:
      ConfigError: no runs, the same experiment and seed twice, an unknown setting, a target that
        is not a fraction, a reference or a width that there is not, or a folder of the report
        that is taken.
      CheckpointError: a damaged run folder, or a file that cannot be written.
    """
    folder = Path(out)
    _check_free(folder, overwrite)
    check_target(target)
    check_name("width", width, drawing.WIDTHS)
    groups = _groups(folders, by)
    runs = [run for each in groups for run in each.runs]
    table = judged(table_of(groups, target), against)
    contents: dict[str, str | bytes] = {}
    for name, grid in (("table", figures_grid(table)), ("differences", differences_grid(table))):
        if grid is not None:
            contents[f"{name}.md"] = rendering.markdown(grid)
            contents[f"{name}.tex"] = rendering.latex(grid)
    contents["table.csv"] = figures_csv(table)
    if "differences.md" in contents:
        contents["differences.csv"] = differences_csv(table)
    figures, left_out = _figures(table, width)
    for name, figure in figures.items():
        contents[name] = drawing.png(figure)
        contents[f"{Path(name).stem}.pdf"] = drawing.encoded(figure, "pdf")
    # The page last: what it refers to is then there.
    contents[PAGE] = page_of(table, runs, list(figures), left_out)
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if name not in contents:
                (folder / name).unlink(missing_ok=True)
    for name, content in contents.items():
        with named(folder / name):
            write_atomically(folder / name, content)
    return table


def _groups(folders: Folders | Mapping[str, Folders], by: Sequence[str]) -> list[Group]:
    if not isinstance(folders, Mapping):
        return group(_read(folders), by)
    if not folders:
        raise ConfigError("folders: no row was given; give folders of runs by the name of a row")
    for name in folders:
        if not (isinstance(name, str) and name and name.isprintable()):
            raise ConfigError(f"folders: {name!r} cannot name a row; give a text of one line")
    if by:
        raise ConfigError(
            f"by: {', '.join(by)} cannot be used with rows that have names; leave one of them out"
        )
    return with_names({name: _read(own) for name, own in folders.items()})


def _read(folders: Folders) -> list[Run]:
    given = [folders] if isinstance(folders, str | os.PathLike) else folders
    if not isinstance(given, Iterable):
        raise ConfigError(f"folders: {folders!r} is no list of folders")
    each = list(given)
    for folder in each:
        if not isinstance(folder, str | os.PathLike):
            raise ConfigError(f"folders: {folder!r} is no folder; give its path")
    return [read_run(path) for path in find(each)]


def _check_free(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out: {str(folder)!r} is not a folder; choose another --out")
    held = [name for name in (CONFIG, METRICS, SUMMARY) if (folder / name).exists()]
    if held:
        raise ConfigError(
            f"out: {str(folder)!r} holds a run ({held[0]}), whose plots would be replaced; choose"
            " another --out"
        )
    earlier = [name for name in FILES if (folder / name).exists()]
    if earlier and not overwrite:
        raise ConfigError(
            f"out: {str(folder)!r} already holds {earlier[0]}; choose another --out or pass"
            " --overwrite"
        )
    check_writable(folder)


def judged(table: Table, against: str | None = None) -> Table:
    """A table with what its rows come to beside each other.

    Args:
      table: the table.
      against: the reference, as of ``reference_of``.

    Returns:
      The table with its standings, and its rows compared with the reference.

    Raises:
      ConfigError: a reference that there is not.
    """
    reference = reference_of(table.groups, against)
    found = (
        []
        if reference is None
        else comparisons(table.groups, reference, quantities(measure(table)))
    )
    several = len(table.groups) > 1
    return dataclasses.replace(
        table,
        standings=standings(table) if several else (),
        reference=reference,
        comparisons=tuple(found),
    )


def _figures(table: Table, width: drawing.Width) -> tuple[dict[str, "Figure"], int]:
    """The plots by file, and how many groups have no line; no plots if nothing completed."""
    done = [each for each in table.groups if each.completed]
    if not done:
        return {}, 0
    first = frontier.best_first(table)[: drawing.MOST_STYLES]
    labels = {each.label for each in first}
    lines = [each for each in done if len(done) <= drawing.MOST_STYLES or each.label in labels]
    styled = [(each, drawing.style(number)) for number, each in enumerate(lines)]
    styles = {each.label: style for each, style in styled}
    figures = {
        "curves.png": curves.plot_rounds(styled, width),
        "accuracy-bytes.png": curves.plot_costs(styled, width),
        "frontier.png": frontier.plot_frontier(table, styles, width),
        "fairness.png": bars.plot_fairness(done, width),
        "time.png": bars.plot_time(done, width),
    }
    return figures, len(done) - len(lines)
