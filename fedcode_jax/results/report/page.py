"""The page of a report."""

from collections.abc import Sequence
from pathlib import Path

from fedcode_jax.results.report.cells import differences_grid, figures_grid
from fedcode_jax.results.report.groups import Group
from fedcode_jax.results.report.labels import label
from fedcode_jax.results.report.reference import Reference
from fedcode_jax.results.report.rendering import code, markdown
from fedcode_jax.results.report.runs import Run
from fedcode_jax.results.report.standing import RULE
from fedcode_jax.results.report.table import Table

CAPTIONS = {
    "curves.png": "Accuracy of the server's weights over rounds: mean over seeds, with a band of"
    " one standard deviation to each side where there are at least two.",
    "accuracy-bytes.png": "The same means against the bytes sent until then, up and down together,"
    " and against the simulated time until then.",
    "frontier.png": "Accuracy, mean of the last schedule period, or of the last round if a group"
    " has no period, as the axis says, against bytes of a whole run, both ways, and against its"
    " simulated time; bars are one standard deviation to each side. The dotted step joins the"
    " Pareto-best rows of the same data and partition.",
    "fairness.png": "Accuracy over the clients at the last evaluation, all seeds together, so that"
    " a box is as wide as seeds differ too: median and quartiles, whiskers to the extremes, and the"
    " mean over seeds of the worst tenth of a run's clients, at least one.",
    "time.png": "Simulated time of a run, mean over seeds: what the mean client spends on"
    " computing, sending and waiting. Computing takes none where `network.samples_per_second` is"
    " not set.",
}
"""By file: what the plot shows."""
_LINES = ("curves.png", "accuracy-bytes.png", "frontier.png")
_FIGURES = (
    "Mean ± standard deviation over the completed runs of a group; without ± there is one, or"
    " all are equal. Accuracies are of the server's weights, except the deployed one, which is"
    " of the model that clients would receive; the period is the schedule's, and there is none"
    " where a schedule goes by what it sees or repeats only after the run. Bytes are as"
    " encoded, in all messages of a run."
)
_WORDS = (
    "Cells are the mean over the seeds that both have and its 95 % confidence interval (Student's"
    " t, n - 1 degrees of freedom, n the number of seeds); bytes are the reference's over the"
    " row's, geometric mean. `higher`, `lower`, `fewer` and `more` say that the whole interval is"
    " on one side of no difference; `not told apart` that it is not, or that an accuracy differs by"
    " the same in all seeds, which bears no claim; with `one seed` there is no interval. Each"
    " interval is for its row alone: of twenty true ones, one is expected to miss."
)
_SAY_NOTHING = ("seed", "out", "log", "evaluate_clients")
"""Settings that are not told as common to all runs: they change no figure, or differ."""


def page_of(table: Table, runs: Sequence[Run], plots: Sequence[str], left_out: int) -> str:
    """The whole page as Markdown.

    Args:
      table: what is reported.
      runs: all that were read.
      plots: files of the plots that there are, some of ``CAPTIONS``.
      left_out: how many groups have no line of their own in plots.

    Returns:
      The text.
    """
    groups = table.groups
    blocks = [
        "# Report",
        f"{_counted(len(runs), 'run')} in {_counted(len(groups), 'group')}.{_common(runs)}"
        f"{_network(runs)}{_faults(runs)}",
        markdown(figures_grid(table)).rstrip("\n"),
        _FIGURES,
        *([RULE] if table.standings else []),
        *_remarks(groups),
        *_differences(table),
    ]
    for name in plots:
        caption = CAPTIONS[name]
        if left_out and name in _LINES:
            drawn = sum(1 for each in groups if each.completed) - left_out
            how = "in colour" if name == "frontier.png" else "drawn"
            caption += (
                f" {drawn} of {drawn + left_out} groups are {how}: those on the frontier first,"
                " then the most accurate."
            )
        blocks.append(f"![{Path(name).stem}]({name})\n\n{caption}")
    if not plots:
        blocks.append("No run completed, so there are no plots.")
    return "\n\n".join(blocks) + "\n"


def _differences(table: Table) -> list[str]:
    """The differences to the reference, and what they mean."""
    grid = differences_grid(table)
    if table.reference is None or grid is None:
        why = "there is one row" if len(table.groups) == 1 else "no row has a completed run"
        return [f"No differences between rows are shown: {why}."]
    rows = ", ".join(code(each.label) for each in table.reference.groups)
    without = [each for each in table.comparisons if each.reference is None]
    reasons = [f"- {code(each.group.label)} is not compared: {each.why_not}." for each in without]
    return [
        f"## Differences to {rows}",
        f"{_pairing(table.reference)} `--against` chooses another reference.",
        markdown(grid).rstrip("\n"),
        _WORDS,
        *(["\n".join(reasons)] if reasons else []),
    ]


def _pairing(reference: Reference) -> str:
    which = "a run" if len(reference.groups) > 1 else "the run"
    same = "seed, data and partition" if reference.same_data else "seed"
    if reference.but_for:
        same = f"{same} and the same settings but for {reference.but_for}"
    else:
        same = f"{same}; in what else they differ, the labels say"
    return f"Each run is compared with {which} of the reference that has the same {same}."


def _remarks(groups: Sequence[Group]) -> list[str]:
    """What a reader must know of the rows: short labels, pooled settings, runs in no mean."""
    found = [
        f"- In pictures and LaTeX, {code(each.short)} is {code(each.label)}."
        for each in groups
        if each.short != each.label
    ]
    found += [
        f"- The runs of {code(each.label)} also differ in"
        f" {', '.join(f'`{name}`' for name in each.pooled)}:"
        " its figures are over these as well as over seeds."
        for each in groups
        if each.pooled
    ]
    found += [
        f"- {code(str(run.folder))} ({run.status} after {_counted(len(run.records), 'round')}) is"
        " in no figure."
        for each in groups
        for run in each.runs
        if run not in each.completed
    ]
    return ["\n".join(found)] if found else []


def _common(runs: Sequence[Run]) -> str:
    """A sentence on the settings that all runs share and that are not the defaults."""
    shared = {}
    for name, value in runs[0].settings.items():
        ignored = name in _SAY_NOTHING or name.startswith("execution.")
        is_shared = all(run.settings.get(name) == value for run in runs)
        if is_shared and not ignored and value != runs[0].defaults.get(name):
            shared[name] = value
    return f" All have: {code(label(shared))}." if shared else ""


def _network(runs: Sequence[Run]) -> str:
    """A sentence on the network, if all runs have the same."""
    found = {run.summary.get("network") for run in runs if run.summary}
    (network,) = found if len(found) == 1 else (None,)
    return f" Network of all: {network}." if network else ""


def _faults(runs: Sequence[Run]) -> str:
    """A sentence on what befell the runs with faults, all together."""
    found = [run.summary["faults"] for run in runs if run.summary.get("faults")]
    if not found:
        return ""
    totals = {name: sum(each[name] for each in found) for name in found[0]}
    shown = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in totals.items())
    return f" Faults, in {_counted(len(found), 'run')}: {shown}."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
