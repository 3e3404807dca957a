"""Finds run folders, and reads what a report needs of each."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fedcode_jax import config as configs
from fedcode_jax.config.files import read_yaml
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results.figures import check_evaluation
from fedcode_jax.results.run_files import (
    CHECKPOINTS,
    CONFIG,
    EVALUATION,
    METRICS,
    SUMMARY,
    read,
)

UNFINISHED = "unfinished"
_WITHOUT_RUNS = (CHECKPOINTS, "tensorboard", "wandb")
"""What else lies in the folder of a run; wandb has files there that look like one."""


class Point(NamedTuple):
    """An evaluated round.

    Attributes:
      round: its number.
      accuracy: of the server's weights.
      bytes: sent up to and in it, both ways.
      seconds: simulated, up to and in it; NaN if the records have none.
    """

    round: int
    accuracy: float
    bytes: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as its folder tells it.

    Attributes:
      folder: where it lies.
      settings: value by dotted name, of the settings that its choices have.
      defaults: the default of each that has one.
      records: one dictionary a round.
      summary: the closing figures; empty for a run that was killed.
      evaluation: accuracy by class and client; empty if there is none.
    """

    folder: Path
    settings: Mapping[str, Any]
    defaults: Mapping[str, Any]
    records: list[dict[str, Any]]
    summary: Mapping[str, Any]
    evaluation: Mapping[str, Any]

    @property
    def status(self) -> str:
        """``completed``, ``diverged``, ``interrupted``, or ``unfinished`` without a summary."""
        return self.summary.get("status", UNFINISHED)

    def points(self) -> list[Point]:
        """The evaluated rounds, in order."""
        seconds = 0.0
        found = []
        for record in self.records:
            seconds += _number(record.get("simulated_seconds"))
            accuracy = _number(record.get("test_accuracy"))
            if math.isfinite(accuracy):
                point = Point(record["round"], accuracy, record["cumulative_bytes"], seconds)
                found.append(point)
        return found


def find(folders: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The run folders among and below some folders, each once.

    A folder with metrics or a summary is that of a run; so is one that has a config and no run
    below it, whose other files are then missing.

    Args:
      folders: run folders, or folders that contain run folders at any depth.

    Returns:
      The run folders, in the order given, those of one folder by name, numbers in it by size.

    Raises:
      ConfigError: no folder, a folder that does not exist, or none that holds a run.
    """
    given = [Path(folder) for folder in folders]
    if not given:
        raise ConfigError("folders: none was given; name run folders, or folders that contain some")
    found: dict[Path, Path] = {}
    for folder in given:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise ConfigError(f"folders: {str(folder)!r} {what}; give the folder of a run")
        for run in _below(folder):
            found.setdefault(run.resolve(), run)
    if not found:
        shown = ", ".join(repr(str(folder)) for folder in given)
        raise ConfigError(
            f"folders: there is no run in {shown}; give folders that 'fedcode run --out' wrote"
        )
    return list(found.values())


def _below(folder: Path) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error.strerror})") from error
    names = {entry.name for entry in entries if not entry.is_dir()}
    is_run = bool({METRICS, SUMMARY} & names)
    subfolders = [
        Path(entry)
        for entry in entries
        if entry.is_dir(follow_symlinks=False)
        and not entry.name.startswith(".")
        and not (is_run and entry.name in _WITHOUT_RUNS)
    ]
    below = [run for each in sorted(subfolders, key=_by_number) for run in _below(each)]
    if is_run or (CONFIG in names and not below):
        yield folder
    yield from below


def _by_number(path: Path) -> list[tuple[int, str]]:
    """So that k8 comes before k16."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_run(folder: Path) -> Run:
    """Reads a run folder, also an unfinished one.

    Args:
      folder: the folder.

    Returns:
      What it holds. Settings are not checked: neither the data set of the run nor a module with a
      part of one's own need be here.

    Raises:
      CheckpointError: a file is missing or damaged, or they do not belong together.
      ConfigError: the config cannot be read.
    """
    files = read(folder)
    written = read_yaml(folder / CONFIG)
    try:
        recorded = configs.recorded(written)
    except ConfigError as error:
        raise ConfigError(f"{folder / CONFIG}: {error}") from error
    seed = recorded.values["seed"]
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"{folder / CONFIG}: seed: {seed!r} is no whole number")
    summary = files.summary if files.summary is not None else {}
    for number, record in enumerate(files.records, start=1):
        if "round" not in record or record.get("cumulative_bytes") is None:
            raise CheckpointError(f"{folder / METRICS}, line {number}: is not a record of a round")
    if summary and summary.get("rounds", len(files.records)) != len(files.records):
        raise CheckpointError(
            f"{folder / METRICS}: has {len(files.records)} rounds, but {SUMMARY} says"
            f" {summary['rounds']}"
        )
    return Run(
        folder,
        recorded.values,
        recorded.defaults,
        files.records,
        summary,
        _evaluation(folder),
    )


def _evaluation(folder: Path) -> Mapping[str, Any]:
    path = folder / EVALUATION
    if not path.exists():
        return {}
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: is damaged ({error})") from error
    if not isinstance(evaluation, dict):
        raise CheckpointError(f"{path}: does not hold accuracies by name")
    check_evaluation(str(path), evaluation)
    return evaluation


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
