"""The folder of a sweep: its description, a run folder for each experiment, one table."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results import run_files
from fedcode_jax.results.locking import FolderLock
from fedcode_jax.results.rows import columns_of, csv_text
from fedcode_jax.results.sweep_locks import hold, is_lock, short
from fedcode_jax.results.sweep_rows import sweep_row, write_table
from fedcode_jax.results.writing import lines, named, to_json, write_atomically

SWEEP = "sweep.json"
RUNS = "runs"
FAILED = "failed"
"""The status of an experiment that is run again when the sweep is started again."""


class SweepFolder:
    """Writes a sweep, or a share of it, as it goes. Made by ``open``.

    Attributes:
      path: the folder.
      versions: version by name, noted in the config of each experiment.
    """

    def __init__(
        self,
        path: Path,
        versions: Mapping[str, str],
        lock: FolderLock,
        share: tuple[int, int] | None,
    ) -> None:
        self.path = path
        self.versions = versions
        self._lock = lock
        self._alone = share is None

    def close(self) -> None:
        """Lets others write what this process has held."""
        self._lock.release()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        description: Mapping[str, Any],
        versions: Mapping[str, str],
        share: tuple[int, int] | None = None,
    ) -> "SweepFolder":
        """Makes the folder, or opens that of the same sweep to go on with it.

        Args:
          path: the folder.
          description: what makes the sweep this one.
          versions: as of ``installed_versions``.
          share: the number of what this process does of it, from 1, and of how many; others may
            then do the other shares at the same time. None for all of it.

        Returns:
          The folder.

        Raises:
          ConfigError: it holds another sweep or something else, is being written, or cannot be.
        """
        folder = Path(path)
        _check_same(folder, description)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = hold(folder, share)
            try:
                with contextlib.nullcontext() if share is None else short(folder):
                    if not _check_same(folder, description):
                        write_atomically(folder / SWEEP, _text(description))
                    (folder / RUNS).mkdir(exist_ok=True)
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise ConfigError(
                f"out: {str(folder)!r} cannot be written ({error.strerror}); choose another --out"
            ) from error
        return cls(folder, versions, lock, share)

    def tidy(self, numbers: Iterable[int]) -> None:
        """Removes what a kill has left of folders in the making, but for checkpoints.

        Args:
          numbers: of the experiments that this process is to run.
        """
        own = {f"{number:04d}" for number in numbers}
        for path in (self.path / RUNS).glob(".*"):
            _, number, *aside = path.name.split(".")
            is_begun = not aside and (path / run_files.CHECKPOINTS).is_dir()
            if number in own and not is_begun:
                shutil.rmtree(path)

    def read(self, number: int) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
        """Records and summary of an experiment that is finished, else None: also if it failed."""
        path = self.of(number)
        if not path.exists():
            return None
        files = run_files.read(path)
        if files.summary is None:
            raise CheckpointError(f"{path}: lacks {run_files.SUMMARY}; remove this folder")
        return None if files.summary.get("status") == FAILED else (files.records, files.summary)

    def write(
        self,
        number: int,
        config_text: str,
        records: Sequence[Mapping[str, Any]],
        summary: Mapping[str, Any],
        evaluation: Mapping[str, Any] | None,
        clients: Sequence[Mapping[str, Any]] = (),
        versions: Mapping[str, str] | None = None,
    ) -> Path:
        """Writes an experiment that has ended; its folder appears whole or not at all.

        In place of one that failed earlier. Checkpoints in ``begun`` become a part of it, unless it
        failed: then they stay where they are, to go on from.

        Args:
          number: of the experiment, from 0.
          config_text: as YAML.
          records: one a round.
          summary: the closing figures.
          evaluation: accuracy by class and client, or None.
          clients: rows for ``clients.csv``.
          versions: of what ran it, where that is not this process.

        Returns:
          The folder of the experiment.

        Raises:
          CheckpointError: it cannot be written.
        """
        path, hidden = self.of(number), self.begun(number)
        if summary.get("status") == FAILED:
            hidden = hidden.with_name(f"{hidden.name}.failed")
        with named(hidden):
            hidden.mkdir(exist_ok=True)
            files = {
                run_files.CONFIG: run_files.with_versions(config_text, versions or self.versions),
                run_files.METRICS: lines(records),
                run_files.METRICS_TABLE: csv_text(records, columns_of(records)),
                run_files.SUMMARY: to_json(summary, indent=2) + "\n",
            }
            if clients:
                files[run_files.CLIENTS] = csv_text(clients, columns_of(clients))
            if evaluation is not None:
                files[run_files.EVALUATION] = to_json(evaluation, indent=2) + "\n"
            for name, text in files.items():
                (hidden / name).write_text(text, encoding="utf-8")
            _take_place(hidden, path)
        return path

    def write_table(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Writes ``results.csv`` and ``results.parquet`` of all that has ended, whoever ran it.

        Args:
          points: of each experiment of the sweep, value by setting of the axes.

        Raises:
          CheckpointError: a file cannot be read or written.
        """
        with contextlib.nullcontext() if self._alone else short(self.path):
            found = [(number, point, self._summary(number)) for number, point in enumerate(points)]
            write_table(
                self.path,
                [sweep_row(number, point, summary) for number, point, summary in found if summary],
            )

    def _summary(self, number: int) -> dict[str, Any] | None:
        path = self.of(number) / run_files.SUMMARY
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); remove its folder") from error

    def begun(self, number: int) -> Path:
        """The folder of an experiment that has checkpoints, and has not ended."""
        return self.path / RUNS / f".{number:04d}"

    def of(self, number: int) -> Path:
        """The folder of an experiment, finished or not."""
        return self.path / RUNS / f"{number:04d}"


def _text(description: Mapping[str, Any]) -> str:
    return to_json(description, indent=1) + "\n"


def _check_same(folder: Path, description: Mapping[str, Any]) -> bool:
    """Checks that a folder holds this sweep or nothing; whether it holds it."""
    try:
        earlier = (folder / SWEEP).read_text(encoding="utf-8")
    except FileNotFoundError:
        earlier = None
    except OSError as error:
        raise ConfigError(f"out: {str(folder)!r} cannot be read ({error.strerror})") from error
    if earlier is None:
        if folder.exists() and not (folder.is_dir() and all(map(is_lock, folder.iterdir()))):
            raise ConfigError(
                f"out: {str(folder)!r} is not empty and holds no sweep; choose another --out"
            )
        return False
    if earlier != _text(description):
        raise ConfigError(
            f"out: {str(folder)!r} holds another sweep{_difference(earlier, description)}; "
            "choose another --out, or start that one to go on with it"
        )
    return True


def _take_place(hidden: Path, path: Path) -> None:
    """Gives a folder its name, in place of one that has it."""
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        os.replace(path, old)
    os.replace(hidden, path)
    shutil.rmtree(old, ignore_errors=True)


def _difference(earlier: str, description: Mapping[str, Any]) -> str:
    """The first setting in which two sweeps differ, for an error."""
    try:
        before = json.loads(earlier)["settings"]
    except (ValueError, KeyError, TypeError):
        return ""
    now = json.loads(to_json(description))["settings"]
    for name, value in now.items():
        if before.get(name) != value:
            return f" ({name} is {before.get(name)!r} there)"
    return " (over other axes)"
