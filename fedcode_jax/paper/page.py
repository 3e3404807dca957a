"""The page of the paper's experiments: our figures beside the published ones."""

from collections.abc import Iterable, Mapping

from fedcode_jax.config import ExperimentConfig, flattened, replace, to_dict
from fedcode_jax.paper.comparing import Row, failures, overall, rise, row, told_apart
from fedcode_jax.paper.reading import REFERENCE, SUBJECT, Paper
from fedcode_jax.paper.reports import Report
from fedcode_jax.paper.running import Runs
from fedcode_jax.results.intervals import Interval
from fedcode_jax.results.report.labels import label

_MEANING = (
    "Accuracy is the mean of the last ten rounds (both periods of the published schedule), in "
    "percent, *server* of the server's weights, which no client is sent, *deployed* of the model "
    "that clients would receive. Differences are taken seed by seed, ± half of their 95 % interval "
    "by Student's t. Reductions are of bytes both ways against FedAvg's: measured, and by the "
    "paper's count of bits."
)
_OF_THE_METHOD = (
    "algorithm.num_clusters",
    *(f"schedule.{name}" for name in ("start", "server_period", "client_period")),
)
PAIRS = (("fedavg", "fedcode"), ("fedavg", "skip"), ("fedcode", "skip"))


def page(
    paper: Paper, runs: Mapping[str, Runs], reports: Iterable[Report], made_by: str, ran_on: str
) -> str:
    """All of it, as Markdown.

    Args:
      paper: the experiments.
      runs: by task.
      reports: of all tasks, which the page shows and points to.
      made_by: the command.
      ran_on: device and versions, in words.

    Returns:
      The page.
    """
    lines = [
        f"# FedCode's experiments, scale {paper.name}",
        "",
        f"{paper.title[:1].upper()}{paper.title[1:]}; {paper.seeds} seeds. Made by `{made_by}` on "
        f"{ran_on}.",
        "",
        _MEANING,
        "",
        "## Beside the published figures",
        "",
        *_published(paper, runs),
        "",
        *_ours(paper, runs),
        "",
        "Why they differ:",
        "",
        *(f"- {text}" for text in paper.explained),
    ]
    for task, found in runs.items():
        lines += ["", f"## {task}", "", _settings(paper, task), "", *_task(paper, found)]
        for one in reports:
            if one.task == task:
                lines += ["", f"{one.partition}: [the whole report]({one.page})."]
                lines += ["", f"![{one.partition}]({one.picture})"] if one.picture else []
    lines += ["", "## Are they told apart?", "", *_pairs(paper, runs)]
    lines += ["", "## What the published program's ways change", "", *_quirks(paper, runs)]
    lost = failures(runs.values())
    if lost:
        lines += ["", "## Runs that did not complete", "", *(f"- {text}" for text in lost)]
    return "\n".join(lines) + "\n"


def _published(paper: Paper, runs: Mapping[str, Runs]) -> list[str]:
    rows = []
    for one in paper.published:
        found = overall(paper, dict(runs), SUBJECT, one.data)
        ours = ["-"] * 5
        if found is not None:
            reductions = [f"{found.reduction:.1f}x", f"{found.formula:.1f}x"]
            ours = [*reductions, *(_width(each) for each in found.below), f"{found.places}"]
        rows.append([one.source, one.data, f"{one.reduction:g}x", f"{one.loss:g}", *ours])
    head = ["source", "data", "published reduction", "published loss", "here, measured"]
    head += ["by the paper's count", "loss here, server", "loss here, deployed"]
    return _table([*head, "tasks and splits"], rows)


def _ours(paper: Paper, runs: Mapping[str, Runs]) -> list[str]:
    """What of ours stands beside the published figures, and whether it has learned to the end."""
    config = replace(paper.tasks[paper.headline[0]], paper.methods[SUBJECT].settings)
    settings = flattened(to_dict(config))
    told = {name: settings[name] for name in _OF_THE_METHOD if name in settings}
    lines = [f"Ours: FedCode with `{label(told)}` on {', '.join(paper.headline)}."]
    for task in paper.headline:
        for partition in paper.partitions:
            found = rise(runs[task], REFERENCE, partition)
            if found is not None:
                lines.append(
                    f"Over the rounds that count FedAvg goes from {found[0]:.1f} to "
                    f"{found[1]:.1f} % on {task}, {partition}."
                )
    return [*lines, "Where it still learns, being slower counts as being worse."]


def _settings(paper: Paper, task: str) -> str:
    """What of a task is not the default."""
    own, usual = (flattened(to_dict(each)) for each in (paper.tasks[task], ExperimentConfig()))
    hidden = ("data.path", "data.dir")
    unlike = {n: v for n, v in own.items() if n not in hidden and usual.get(n) != v}
    return f"Settings that are not the defaults: `{label(unlike, otherwise='none')}`."


def _task(paper: Paper, runs: Runs) -> list[str]:
    head = ["split", "method", "server", "less FedAvg", "deployed", "less FedAvg"]
    rows = []
    for partition in paper.partitions:
        for method, one in paper.methods.items():
            if not one.quirk:
                found = row(paper, runs, method, partition)
                shown = _accuracies(found, method != REFERENCE)
                rows.append([partition, f"`{method}`", *shown, *_reductions(found)])
    return _table([*head, "measured reduction", "by the paper's count"], rows)


def _pairs(paper: Paper, runs: Mapping[str, Runs]) -> list[str]:
    rows = []
    for task, found in runs.items():
        for partition in paper.partitions:
            for one, other in PAIRS:
                if one in paper.methods and other in paper.methods:
                    less = told_apart(found, one, other, partition)
                    verdict = {
                        1: f"`{one}` is ahead",
                        -1: f"`{other}` is ahead",
                        0: "not told apart",
                    }
                    name = f"`{one}` less `{other}`"
                    rows.append([task, partition, name, _shown(less), verdict[less.sign]])
    said = "Of the deployed model; told apart is what the 95 % interval over seeds has off 0."
    return [said, "", *_table(["task", "split", "pair", "points", ""], rows)]


def _quirks(paper: Paper, runs: Mapping[str, Runs]) -> list[str]:
    quirks = {name: one.quirk for name, one in paper.methods.items() if one.quirk}
    rows = []
    for task, found in runs.items():
        for partition in paper.quirk_partitions:
            for name in quirks:
                one = row(paper, found, name, partition)
                plain = row(paper, found, SUBJECT, partition)
                shown, before = (f"{each.reduction.mean:.1f}x" for each in (one, plain))
                bytes_shown = shown if shown == before else f"{shown}, not {before}"
                rows.append([task, partition, name, *map(_shown, one.less), bytes_shown])
    head = ["task", "split", "", "server, less FedCode", "deployed, less FedCode", "reduction"]
    texts = [f"- *{name}*: {text}" for name, text in quirks.items()]
    return [*texts, "", *_table(head, rows)]


def _accuracies(found: Row, compared: bool) -> list[str]:
    shown = []
    for level, less in zip(found.accuracy, found.less, strict=True):
        shown += [f"{level.mean:.1f}", _shown(less) if compared else ""]
    return shown


def _reductions(found: Row) -> list[str]:
    return [f"{each.mean:.1f}x" for each in (found.reduction, found.formula)]


def _shown(less: Interval) -> str:
    return _width(less, sign="+")


def _width(found: Interval, sign: str = "") -> str:
    if not found.n:
        return "-"
    width = "" if found.half_width is None else f" ± {found.half_width:.2f}"
    return f"{found.mean:{sign}.2f}{width}"


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    ruled = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in ruled]
