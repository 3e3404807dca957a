"""Writes the folder of a run as it goes: config, metrics, summary; always readable."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results.locking import FolderLock
from fedcode_jax.results.rows import append_rows, columns_of, csv_text, cut_rows, read_rows
from fedcode_jax.results.run_files import (
    CHECKPOINTS,
    CLIENTS,
    CONFIG,
    CONTENTS,
    CURVES,
    EVALUATION,
    LOGS,
    MESSAGE,
    METRICS,
    METRICS_TABLE,
    PARTITION,
    PARTITION_PLOT,
    SAFETENSORS,
    SUMMARY,
    read,
    with_versions,
)
from fedcode_jax.results.writing import lines, named, to_json, write_atomically

_WRITTEN_LATER = (
    *(METRICS, METRICS_TABLE, CLIENTS, LOGS, SUMMARY, EVALUATION),
    *(CURVES, PARTITION, PARTITION_PLOT),
)


class RunFolder:
    r"""Writes a run as it goes. Made by ``create``.

    Attributes:
      path: the folder.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as parent:
      ...     folder = RunFolder.create(f"{parent}/run", "seed: 0\n", {"jax": "0.6.0"})
      ...     folder.append([{"round": 1, "test_accuracy": 0.5}])
      ...     folder.finish({"status": "completed"})
      ...     folder.close()
      ...     read(folder.path).records
      [{'round': 1, 'test_accuracy': 0.5}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FolderLock(path)

    def close(self) -> None:
        """Lets others write the folder; called when the run has ended, in whichever way."""
        self._lock.release()

    @contextlib.contextmanager
    def _released_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints of the run lie."""
        return self.path / CHECKPOINTS

    @staticmethod
    def check_free(path: str | os.PathLike[str]) -> None:
        """Checks, before anything is loaded or computed, that no run would be overwritten.

        Args:
          path: the folder; it need not exist.

        Raises:
          ConfigError: the folder holds a run, or is a file.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"out: {str(folder)!r} is not a folder; choose another --out")
        earlier = [name for name in (CONFIG, METRICS, SUMMARY) if (folder / name).exists()]
        if earlier:
            raise ConfigError(
                f"out: {str(folder)!r} already holds a run ({earlier[0]}); choose another"
                " --out or pass --overwrite"
            )

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config_text: str,
        versions: Mapping[str, str],
        *,
        overwrite: bool = False,
    ) -> "RunFolder":
        """Makes the folder, and writes the config and the versions that ran it.

        Args:
          path: the folder; it may exist, also with other files in it.
          config_text: the config as YAML.
          versions: version by name, as ``installed_versions`` gives; written below the config.
          overwrite: replaces the files of an earlier run; all other files stay.

        Returns:
          The folder, with an empty ``metrics.jsonl``.

        Raises:
          ConfigError: the folder holds a run already, is being written, or cannot be written.
        """
        folder = Path(path)
        try:
            if not overwrite:
                cls.check_free(folder)
            folder.mkdir(parents=True, exist_ok=True)
            opened = cls(folder)
            with opened._released_on_error():
                exported = (SAFETENSORS, MESSAGE, CONTENTS) if overwrite else ()
                for name in (*_WRITTEN_LATER, *exported):
                    (folder / name).unlink(missing_ok=True)
                for stale in _checkpoints(folder).values():
                    shutil.rmtree(stale)
                _write_config(folder, config_text, versions)
                (folder / METRICS).touch()
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError(
                f"out: {str(folder)!r} is not a folder; choose another --out"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"out: {str(folder)!r} cannot be written ({error.strerror}); choose another --out"
            ) from error
        return opened

    @classmethod
    def reopen(
        cls,
        path: str | os.PathLike[str],
        config_text: str,
        versions: Mapping[str, str],
        *,
        rounds: int,
    ) -> tuple["RunFolder", list[dict[str, Any]]]:
        """Opens the folder of a run that is to go on, cut back to its first ``rounds`` rounds.

        Args:
          path: the folder.
          config_text: the config that the whole run has from now on, as YAML.
          versions: as of ``create``.
          rounds: rounds to keep, those of the checkpoint that the run goes on from.

        Returns:
          The folder and its records.

        Raises:
          CheckpointError: the folder does not hold so many rounds.
          ConfigError: it is being written.
        """
        folder = cls(Path(path))
        with folder._released_on_error():
            records = read(path).records[:rounds]
            if len(records) < rounds:
                raise CheckpointError(
                    f"{folder.path / METRICS}: has {len(records)} rounds, the checkpoint {rounds}"
                )
            with named(folder.path / METRICS):
                folder._cut_back(records)
                _write_config(folder.path, config_text, versions)
        return folder, records

    def _cut_back(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Leaves these rounds alone, and nothing that tells of later ones."""
        cut_rows(self.path / CLIENTS, len(records))  # first: it may be damaged
        write_atomically(self.path / METRICS, lines(records))
        write_atomically(self.path / METRICS_TABLE, csv_text(records, columns_of(records)))
        (self.path / SUMMARY).unlink(missing_ok=True)
        for done, later in _checkpoints(self.path).items():
            if done > len(records):  # damaged, and of rounds that are run again
                shutil.rmtree(later)

    def without_clients(self, records: Sequence[Mapping[str, Any]]) -> list[int]:
        """The evaluated rounds among some records of which ``clients.csv`` has no row."""
        path = self.path / CLIENTS
        there = {row["round"] for row in read_rows(path)} if path.exists() else set()
        evaluated = [each["round"] for each in records if each.get("test_accuracy") is not None]
        return [number for number in evaluated if str(number) not in there]

    def kept(self) -> dict[str, dict[str, Any]]:
        """What loggers have kept here, by their names; nothing in a new folder."""
        try:
            found = json.loads((self.path / LOGS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def keep(self, kept: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes what loggers keep here, if it is anything, to ``logs.json``.

        Raises:
          CheckpointError: the file cannot be written.
        """
        if any(kept.values()):
            with named(self.path / LOGS):
                write_atomically(self.path / LOGS, to_json(kept, indent=2) + "\n")

    def describe(self, dataset: Any, partition: Any) -> None:
        """Writes what data each client has: ``partition.txt`` and ``partition.png``.

        Args:
          dataset: the data set, for its labels and class names.
          partition: which client holds which samples.

        Raises:
          CheckpointError: a file cannot be written.
        """
        labels, names = dataset.train_y, dataset.class_names
        text = (
            f"{str(dataset).splitlines()[0]}\nchecksum {dataset.checksum}\n\n"
            f"{partition.describe(labels, names)}\nchecksum {partition.checksum}\n"
        )
        with named(self.path / PARTITION):
            write_atomically(self.path / PARTITION, text)
            partition.plot(labels, self.path / PARTITION_PLOT, names)

    def append(
        self, records: Sequence[Mapping[str, Any]], clients: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Adds records to ``metrics.jsonl`` and ``metrics.csv``; NaN and infinity become null.

        Args:
          records: one mapping a round.
          clients: rows for ``clients.csv``.

        Raises:
          CheckpointError: a file cannot be written, e.g. on a full disk.
        """
        with (
            named(self.path / METRICS),
            (self.path / METRICS).open("a", encoding="utf-8") as file,
        ):
            file.write(lines(records))
        with named(self.path / METRICS_TABLE):
            append_rows(self.path / METRICS_TABLE, records)
        with named(self.path / CLIENTS):
            append_rows(self.path / CLIENTS, clients)

    def finish(
        self, summary: Mapping[str, Any], evaluation: Mapping[str, Any] | None = None
    ) -> None:
        """Writes ``evaluation.json`` and ``summary.json``, each whole or not at all.

        Args:
          summary: the closing figures.
          evaluation: accuracy by class and client; None leaves what is there.

        Raises:
          CheckpointError: a file cannot be written.
        """
        if evaluation is not None:
            with named(self.path / EVALUATION):
                write_atomically(self.path / EVALUATION, to_json(evaluation, indent=2) + "\n")
        with named(self.path / SUMMARY):
            write_atomically(self.path / SUMMARY, to_json(summary, indent=2) + "\n")


def _checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints of a run by their rounds."""
    found = [path for path in (folder / CHECKPOINTS).glob("round_*") if path.is_dir()]
    return {int(path.name[6:]): path for path in found if path.name[6:].isdigit()}


def _write_config(folder: Path, config_text: str, versions: Mapping[str, str]) -> None:
    write_atomically(folder / CONFIG, with_versions(config_text, versions))
