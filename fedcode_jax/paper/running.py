"""Runs the paper's experiments: a sweep for each task, and how long they may take."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fedcode_jax import bench
from fedcode_jax.config import replace, to_dict
from fedcode_jax.experiment import SweepObserver, SweepRun, sweep
from fedcode_jax.paper.reading import REFERENCE, Paper, configs
from fedcode_jax.results.sweep_folder import FAILED, RUNS
from fedcode_jax.results.writing import named, to_json, write_atomically

PLAN = "plan.json"
Runs = dict[tuple[str, str, int], SweepRun]
"""The runs of a task by method, partition and seed."""


class Expected(NamedTuple):
    """What is left of a task, and how long it may take.

    Attributes:
      task: its name.
      experiments: all of them.
      left: that have not run to an end.
      round_seconds: of a round of FedAvg, as ``fedcode bench`` measures it here.
      compile_seconds: of its program.
      seconds: for what is left: as many rounds of FedAvg, and a program for each method.
    """

    task: str
    experiments: int
    left: int
    round_seconds: float
    compile_seconds: float
    seconds: float


def expected(
    paper: Paper, out: Path, measure: Callable[..., dict[str, Any]] = bench.measure
) -> list[Expected]:
    """Measures a round of FedAvg of each task, and says what all that is left may take.

    What was measured is kept in ``plan.json`` of the folder, for later calls.

    Args:
      paper: the experiments.
      out: the folder that they are written to.
      measure: of an experiment, its record as of ``bench.measure``.

    Returns:
      One a task.
    """
    known = _measured(out / PLAN)
    found = []
    for task, base in paper.tasks.items():
        law = next(iter(paper.partitions.values()))
        config = replace(base, {**law, **paper.methods[REFERENCE].settings})
        settings = to_dict(config)
        if known.get(task, {}).get("settings") != settings:
            record = measure(config, repeats=2)
            known[task] = {
                "settings": settings,
                "round_seconds": record["figures"]["median_seconds"]["round"],
                "compile_seconds": record["compile_seconds"],
            }
            with named(out / PLAN):
                out.mkdir(parents=True, exist_ok=True)
                write_atomically(out / PLAN, to_json(known) + "\n")
        all_of_it = len(configs(paper, task))
        left = all_of_it - _finished(out / task)
        programs = len(paper.methods) * left / all_of_it
        one_round, compiling = known[task]["round_seconds"], known[task]["compile_seconds"]
        seconds = left * base.rounds * one_round + programs * compiling
        found.append(Expected(task, all_of_it, left, one_round, compiling, seconds))
    return found


def run_task(paper: Paper, task: str, out: Path, observer: SweepObserver | None = None) -> Runs:
    """Runs what is missing of a task.

    Args:
      paper: the experiments.
      task: one of its tasks.
      out: the folder; that of the task is a sweep's.
      observer: is told of the progress.

    Returns:
      All runs.

    Raises:
      ConfigError: the folder holds other experiments, or the data cannot be had.
    """
    wanted = configs(paper, task)
    found = sweep(paper.tasks[task], list(wanted.values()), out=str(out / task), observer=observer)
    return dict(zip(wanted, found.runs, strict=True))


def _measured(path: Path) -> dict[str, Any]:
    """What was measured before; nothing where the file is damaged, so that it is measured again."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and all(map(_is_timing, known.values())) else {}


def _is_timing(value: Any) -> bool:
    names = ("round_seconds", "compile_seconds")
    return isinstance(value, dict) and all(isinstance(value.get(n), float) for n in names)


def _finished(folder: Path) -> int:
    """Experiments of a sweep that are not run again: but for those that failed."""
    found = (folder / RUNS).glob("[0-9]*/summary.json")
    return sum(json.loads(path.read_text())["status"] != FAILED for path in found)
