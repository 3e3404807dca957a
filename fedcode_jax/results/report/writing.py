"""Writes a report: the tables, the plots, and a page with both."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedcode_jax.errors import ConfigError
from fedcode_jax.results import drawing
from fedcode_jax.results.folder import CONFIG, METRICS, SUMMARY
from fedcode_jax.results.report import bars, curves, frontier, rendering
from fedcode_jax.results.report.groups import Group, group
from fedcode_jax.results.report.labels import label
from fedcode_jax.results.report.runs import Run, find, read_run
from fedcode_jax.results.report.table import Table, check_target, table_of
from fedcode_jax.results.writing import named, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.md"
CAPTIONS = {
    "curves.png": "Accuracy of the server's weights over rounds: mean over seeds, with a band of"
    " one standard deviation to each side where there are at least two.",
    "accuracy-bytes.png": "The same means against the bytes sent until then, up and down together,"
    " and against the simulated time until then.",
    "frontier.png": "Bytes of a whole run against accuracy, mean of the last schedule period, or of"
    " the last round if a group has no period, as its axis says; bars are one standard deviation to"
    " each side. No group sends less and is as accurate as those on"
    " the dotted step.",
    "fairness.png": "Accuracy over the clients at the last evaluation, all seeds together: median"
    " and quartiles, whiskers to the extremes, and the mean over seeds of the worst tenth.",
    "time.png": "Simulated time of a run, mean over seeds: what the mean client spends on"
    " computing, sending and waiting, as far as the runs recorded it.",
}
"""By file: what the plot shows."""
FILES = (PAGE, "table.md", "table.tex", "table.csv", *CAPTIONS)
_LINES = ("curves.png", "accuracy-bytes.png", "frontier.png")
_LEFT_OUT = ("seed", "out", "log", "evaluate_clients")
_MOST_LINES = 14  # as many as have a style of their own


def write_report(
    folders: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str] = "report",
    *,
    by: Sequence[str] = (),
    target: float | None = None,
    overwrite: bool = False,
) -> Table:
    """Compares runs: writes a page with a table and plots, and the table as Markdown, LaTeX, CSV.

    Runs that differ in nothing but their seed are one row, a mean with its standard deviation.
    Runs that did not complete are counted, and are in no mean.

    Args:
      folders: run folders, or folders that contain run folders at any depth.
      out: folder of the report.
      by: settings to group by and to label with; empty: all that differ between the runs.
      target: accuracy for columns that say when it is first reached.
      overwrite: replaces an earlier report in the same folder.

    Returns:
      The table.

    Raises:
      ConfigError: no runs, the same experiment and seed twice, an unknown setting, a target that
        is not a fraction, or a folder of the report that is taken.
      CheckpointError: a damaged run folder, or a file that cannot be written.
    """
    folder = Path(out)
    _check_free(folder, overwrite)
    check_target(target)
    runs = [read_run(path) for path in find(folders)]
    table = table_of(group(runs, by), target)
    contents: dict[str, str | bytes] = {
        "table.md": rendering.markdown(table),
        "table.tex": rendering.latex(table),
        "table.csv": rendering.to_csv(table),
    }
    figures, left_out = _figures(table)
    contents |= {name: drawing.png(figure) for name, figure in figures.items()}
    # The page last: what it refers to is then there.
    contents[PAGE] = _page(table, runs, list(figures), left_out)
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if name not in contents:
                (folder / name).unlink(missing_ok=True)
    for name, content in contents.items():
        with named(folder / name):
            write_atomically(folder / name, content)
    return table


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


def _figures(table: Table) -> tuple[dict[str, "Figure"], int]:
    """The plots by file, and how many groups have no line; no plots if nothing completed."""
    done = [each for each in table.groups if each.completed]
    if not done:
        return {}, 0
    labels = {each.label for each in frontier.best_first(table)[:_MOST_LINES]}
    lines = [each for each in done if len(done) <= _MOST_LINES or each.label in labels]
    styled = [(each, drawing.style(number)) for number, each in enumerate(lines)]
    figures = {
        "curves.png": curves.plot_rounds(styled),
        "accuracy-bytes.png": curves.plot_costs(styled),
        "frontier.png": frontier.plot_frontier(
            table, {each.label: style for each, style in styled}
        ),
        "fairness.png": bars.plot_fairness(done),
        "time.png": bars.plot_time(done),
    }
    return figures, len(done) - len(lines)


def _page(table: Table, runs: Sequence[Run], figures: Sequence[str], left_out: int) -> str:
    groups = table.groups
    blocks = [
        "# Report",
        f"{_counted(len(runs), 'run')} in {_counted(len(groups), 'group')}.{_common(runs)}",
        rendering.markdown(table).rstrip("\n"),
        "Mean ± standard deviation over the completed runs of a group; without ± there is one, or"
        " all are equal. Accuracies are of the server's weights, except the deployed one, which is"
        " of the model that clients would receive; the period is the schedule's, and there is none"
        " where a schedule goes by what it sees or repeats only after the run. Bytes are as"
        " encoded, in all messages of a run.",
        *_remarks(groups),
    ]
    for name in figures:
        caption = CAPTIONS[name]
        if left_out and name in _LINES:
            drawn = sum(1 for each in groups if each.completed) - left_out
            how = "in colour" if name == "frontier.png" else "drawn"
            caption += (
                f" {drawn} of {drawn + left_out} groups are {how}: those on the frontier first,"
                " then the most accurate."
            )
        blocks.append(f"![{Path(name).stem}]({name})\n\n{caption}")
    if not figures:
        blocks.append("No run completed, so there are no plots.")
    return "\n\n".join(blocks) + "\n"


def _remarks(groups: Sequence[Group]) -> list[str]:
    """What a reader must know of the rows: pooled settings, and runs that are in no mean."""
    found = [
        f"- The runs of `{each.label}` also differ in {', '.join(f'`{n}`' for n in each.pooled)}:"
        " its figures are over these as well as over seeds."
        for each in groups
        if each.pooled
    ]
    found += [
        f"- `{run.folder}` ({run.status} after {_counted(len(run.records), 'round')}) is in no"
        " figure."
        for each in groups
        for run in each.runs
        if run not in each.completed
    ]
    return ["\n".join(found)] if found else []


def _common(runs: Sequence[Run]) -> str:
    """A sentence on the settings that all runs share and that are not the defaults."""
    shared = {}
    for name, value in runs[0].settings.items():
        ignored = name in ("seed", "out", "log", "evaluate_clients") or name.startswith(
            "execution."
        )
        is_shared = all(run.settings.get(name) == value for run in runs)
        if is_shared and not ignored and value != runs[0].defaults.get(name):
            shared[name] = value
    return f" All have: `{label(shared)}`." if shared else ""


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
