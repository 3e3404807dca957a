"""What ``rivals.py`` runs, cut into pieces, each with a record of its own that is kept."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from controls import PARTITIONS
from rivals_variants import Variant
from updates import WINDOW, figures

from fedcode_jax import ExperimentConfig, run, sweep
from fedcode_jax.config import from_dict, replace, to_dict
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.experiment import SweepRun
from fedcode_jax.results.writing import to_json, write_atomically

CURVES = ("test_accuracy", "deployed_accuracy", "personal_accuracy", "cumulative_bytes")
ENDED = ("completed", "diverged")
CHECKPOINT_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Task:
    """What all methods are run on.

    Attributes:
      settings: on top of the default experiment.
      partitions: names in ``PARTITIONS``.
      seeds: each changes initial weights, partition and batches.
      apart: each partition and seed is a piece, and a run of its own that leaves checkpoints;
        otherwise those of a method are one sweep, which is compiled once.
      images: it needs the images of CIFAR-10.
      long_epochs: a round's epochs of methods that need many local steps, as of ``variants``.
    """

    settings: dict[str, Any]
    partitions: tuple[str, ...]
    seeds: int
    apart: bool = False
    images: bool = False
    long_epochs: int = 10


@dataclasses.dataclass(frozen=True)
class Piece:
    """A method on some partitions, with some seeds.

    Attributes:
      method: by name.
      points: partition, by name, and seed of each run.
      config: of the first of them, without a folder.
      path: of the record, in the folder of all of them.
    """

    method: str
    points: tuple[tuple[str, int], ...]
    config: ExperimentConfig
    path: str


def pieces(
    name: str, task: Task, variants: dict[str, Variant]
) -> tuple[list[Piece], dict[str, str]]:
    """The pieces of a task in the order in which they run, and by method why it cannot be.

    Args:
      name: of the task.
      task: all of it.
      variants: by method.

    Returns:
      All methods with the first seed before any method with the next one; and the errors.
    """
    points = [(partition, seed) for seed in range(task.seeds) for partition in task.partitions]
    groups = [(point,) for point in points] if task.apart else [tuple(points)]
    found, errors = [], {}
    for group in groups:
        partition, seed = group[0]
        part = f"{slug(partition)}.{seed}" if task.apart else f"{task.seeds}-seeds"
        for method, variant in variants.items():
            settings = {**task.settings, **variant.settings, **point_settings(partition, seed)}
            try:
                config = replace(ExperimentConfig(), settings)
            except ConfigError as error:
                errors[method] = str(error)
                continue
            found.append(Piece(method, group, config, f"{name}/{slug(method)}.{part}.json"))
    return found, errors


def point_settings(partition: str, seed: int) -> dict[str, Any]:
    """What is a point's own, by dotted name."""
    return {**PARTITIONS[partition], "seed": seed}


def slug(text: str) -> str:
    """A name as a part of a path.

    Example:
      >>> slug("eden, 0.5 bits")
      'eden-0-5-bits'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def go(
    todo: Sequence[Piece],
    work: Callable[[Piece], list[SweepRun]],
    folder: pathlib.Path,
    end: float | None,
    facts: dict[str, Any],
) -> None:
    """Runs pieces, and keeps the record of each; begins no other when the time is up.

    Args:
      todo: the pieces.
      work: gives the runs of one.
      folder: of the records.
      end: monotonic time from which no piece is begun; None for as long as it takes.
      facts: that every record states.
    """
    for number, piece in enumerate(todo):
        if end is not None and time.monotonic() >= end:
            print(f"no time left for {len(todo) - number} pieces: call again", flush=True)
            return
        start = time.perf_counter()
        try:
            runs = [kept(*each) for each in zip(piece.points, work(piece), strict=True)]
        except Exception as error:  # the other pieces may do all the same
            traceback.print_exc()
            said = f"{type(error).__name__}: {error}"
            lost = {"status": "failed", "error": said}
            runs = [{"partition": name, "seed": seed, **lost} for name, seed in piece.points]
        jax.clear_caches()
        record = {
            **facts,
            "seconds": round(time.perf_counter() - start, 1),
            "config": plainly(piece.config),
            "runs": runs,
        }
        path = folder / piece.path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_json(record) + "\n")
        states = ", ".join(sorted({one["status"] for one in runs}))
        print(f"{piece.path}: {states} in {record['seconds']:.0f} s", flush=True)


def together(piece: Piece) -> list[SweepRun]:
    """All runs of a piece, in one program."""
    return sweep(piece.config, [point_settings(*point) for point in piece.points]).runs


def alone(scratch: pathlib.Path) -> Callable[[Piece], list[SweepRun]]:
    """Gives what does the runs of a piece one by one, from checkpoints in ``scratch`` on."""

    def runs(piece: Piece) -> Iterator[SweepRun]:
        for number, point in enumerate(piece.points):
            folder = scratch / f"{piece.path.removesuffix('.json')}.{number}"
            own = {
                **point_settings(*point),
                "out": str(folder),
                "checkpoint_every": CHECKPOINT_ROUNDS,
            }
            config = replace(piece.config, own)
            try:
                result = run(config, resume=folder.exists())
            except (CheckpointError, ConfigError):  # no checkpoint, or other settings
                result = run(config, overwrite=True)
            if result.summary["status"] == "interrupted":
                raise KeyboardInterrupt
            shutil.rmtree(folder)
            yield SweepRun({}, config, result.records, result.summary)

    return lambda piece: list(runs(piece))


def kept(point: tuple[str, int], one: SweepRun) -> dict[str, Any]:
    """What a record holds of a run: its figures, and the curves."""
    partition, seed = point
    found = figures(dataclasses.replace(one, point={"partition": partition, "seed": seed}))
    curves = {
        name: [shortened(record[name]) for record in one.records]
        for name in CURVES
        if one.records and name in one.records[0]
    }
    personal = [record.get("personal_accuracy") for record in one.records[-WINDOW:]]
    if personal and None not in personal:
        found["last_ten_personal_accuracy"] = sum(personal) / len(personal)
    extra = ("plan", "partition_checksum", "data_checksum", "to_accuracy")
    return {**found, **{name: one.summary.get(name) for name in extra}, "curves": curves}


def shortened(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def record_of(piece: Piece, folder: pathlib.Path) -> dict[str, Any] | None:
    """The record of a piece; None where there is none of these settings."""
    try:
        record = json.loads((folder / piece.path).read_text())
        same = from_dict(record["config"]) == from_dict(plainly(piece.config))
    except (FileNotFoundError, json.JSONDecodeError, ConfigError):
        return None
    return record if same else None


def is_done(piece: Piece, folder: pathlib.Path) -> bool:
    record = record_of(piece, folder)
    return record is not None and all(one["status"] in ENDED for one in record["runs"])


def plainly(config: ExperimentConfig) -> dict[str, Any]:
    """The settings without the folders of this machine: data by the names of its files."""
    settings = to_dict(config)
    if settings["data"].get("path"):
        settings["data"]["path"] = [os.path.basename(path) for path in settings["data"]["path"]]
    return settings
