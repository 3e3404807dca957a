"""The files of a run as kinds of files, read as a report and a run that goes on read them."""

import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trying import Subject

import fedcode_jax
from fedcode_jax import config as configs
from fedcode_jax import results
from fedcode_jax.results.report import bars, cells, columns, page, rendering, runs, writing
from fedcode_jax.results.report.groups import group
from fedcode_jax.results.report.table import table_of

ROUNDS = 3
_SETTINGS = {
    "data": {"name": "synthetic", "shape": [5], "train_size": 40, "test_size": 20},
    "partition": {"num_clients": 2},
    "model": {"name": "mlp", "hidden": [4]},
    "local": {"epochs": 1},
    "algorithm": {"name": "fedavg"},
    "rounds": ROUNDS,
    "evaluate_clients": True,
}


@functools.cache
def _trained() -> tempfile.TemporaryDirectory:
    """A finished run, made once in a process."""
    folder = tempfile.TemporaryDirectory()
    fedcode_jax.run(configs.from_dict({**_SETTINGS, "out": f"{folder.name}/run"}), quiet=True)
    return folder


def two_runs(folder: Path) -> tuple[Path, Path]:
    """Two finished runs; the second is the first under another seed, with other figures."""
    first, second = folder / "runs" / "a", folder / "runs" / "b"
    for each in (first, second):
        shutil.copytree(f"{_trained().name}/run", each)
    config = (second / results.folder.CONFIG).read_text()
    (second / results.folder.CONFIG).write_text(config.replace("seed: 0", "seed: 1"))
    for name in ("metrics.jsonl", "summary.json", "evaluation.json", "clients.csv"):
        text = (second / name).read_text()
        (second / name).write_text(text.replace("0.", "0.1").replace("0.10", "0.3"))
    return first, second


def reported(folder: Path) -> str:
    """All that ``fedcode report`` reads, computes and writes of some runs, but for its drawings."""
    found = [runs.read_run(path) for path in runs.find([folder])]
    table = writing.judged(table_of(group(found, ()), target=0.3))
    grids = cells.figures_grid(table), cells.differences_grid(table)
    texts = [rendering.markdown(grid) + rendering.latex(grid) for grid in grids if grid is not None]
    texts += [columns.figures_csv(table), page.page_of(table, found, [], 0)]
    for each in table.groups:  # what is drawn
        texts.append(str(bars.client_accuracies(each)))
        texts += [f"{run.points()} {bars.seconds_by_part(run)}" for run in each.completed]
    return "\n".join(texts)


def _reported(name: str) -> Callable[[Path], Subject]:
    def subject(folder: Path) -> Subject:
        first, second = two_runs(folder)
        both = [(each / name).read_bytes() for each in (first, second)]
        return Subject(first / name, both[:1], lambda: reported(folder / "runs"), foreign=both[1])

    subject.__doc__ = f"``{name}`` of a run, as a report reads it."
    return subject


metrics = _reported("metrics.jsonl")
summary = _reported("summary.json")
evaluation = _reported("evaluation.json")
config = _reported("config.yaml")


def _reopened(name: str) -> Callable[[Path], Subject]:
    def subject(folder: Path) -> Subject:
        first, second = two_runs(folder)
        both = [(each / name).read_bytes() for each in (first, second)]
        kept = {path: path.read_bytes() for path in first.iterdir() if path.is_file()}

        def read() -> list[dict[str, Any]]:
            for path, content in kept.items():
                if path.name != name:
                    path.write_bytes(content)
            config = (first / "config.yaml").read_text()
            opened, records = results.RunFolder.reopen(first, config, {}, rounds=ROUNDS - 1)
            try:
                row = {"round": ROUNDS, "client": 0, "accuracy": 0.5}
                opened.append([{**records[-1], "round": ROUNDS}], [row])
            finally:
                opened.close()
            return records

        return Subject(first / name, both, read, holds=lambda records: len(records) == ROUNDS - 1)

    subject.__doc__ = f"``{name}`` of a run that goes on."
    return subject


metrics_reopened = _reopened("metrics.jsonl")
clients_reopened = _reopened("clients.csv")
