"""The folder of a sweep: its description, a run folder for each experiment, one table."""

import csv
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results import run_files
from fedcode_jax.results.locking import FolderLock
from fedcode_jax.results.rows import columns_of, csv_text
from fedcode_jax.results.writing import named, to_json, write_atomically

SWEEP = "sweep.json"
RUNS = "runs"
TABLE = "results"
_LEFT_OUT = ("wall_seconds", "compile_seconds", "compilations", "plan", "padding_waste")
"""Figures of the machine, which would differ from one start of a sweep to the next."""


class SweepFolder:
    """Writes a sweep as it goes. Made by ``open``.

    Attributes:
      path: the folder.
      versions: version by name, noted in the config of each experiment.
    """

    def __init__(self, path: Path, versions: Mapping[str, str], lock: FolderLock) -> None:
        self.path = path
        self.versions = versions
        self._lock = lock

    def close(self) -> None:
        """Lets others write the folder."""
        self._lock.release()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        description: Mapping[str, Any],
        versions: Mapping[str, str],
    ) -> "SweepFolder":
        """Makes the folder, or opens that of the same sweep to go on with it.

        Args:
          path: the folder.
          description: what makes the sweep this one.
          versions: as of ``installed_versions``.

        Returns:
          The folder.

        Raises:
          ConfigError: it holds another sweep or something else, is being written, or cannot be.
        """
        folder = Path(path)
        text = to_json(description, indent=1) + "\n"
        try:
            earlier = (folder / SWEEP).read_text(encoding="utf-8")
        except FileNotFoundError:
            earlier = None
        except OSError as error:
            raise ConfigError(f"out: {str(folder)!r} cannot be read ({error.strerror})") from error
        if earlier is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"out: {str(folder)!r} is not empty and holds no sweep; choose another --out"
            )
        if earlier is not None and earlier != text:
            raise ConfigError(
                f"out: {str(folder)!r} holds another sweep{_difference(earlier, description)}; "
                "choose another --out, or start that one to go on with it"
            )
        try:
            (folder / RUNS).mkdir(parents=True, exist_ok=True)
            lock = FolderLock(folder)
            for unfinished in (folder / RUNS).glob(".*"):
                shutil.rmtree(unfinished)
            if earlier is None:
                write_atomically(folder / SWEEP, text)
        except OSError as error:
            raise ConfigError(
                f"out: {str(folder)!r} cannot be written ({error.strerror}); choose another --out"
            ) from error
        return cls(folder, versions, lock)

    def read(self, number: int) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
        """Records and summary of an experiment that is finished, else None."""
        path = self.of(number)
        if not path.exists():
            return None
        files = run_files.read(path)
        if files.summary is None:
            raise CheckpointError(f"{path}: lacks {run_files.SUMMARY}; remove this folder")
        return files.records, files.summary

    def write(
        self,
        number: int,
        config_text: str,
        records: Sequence[Mapping[str, Any]],
        summary: Mapping[str, Any],
        evaluation: Mapping[str, Any] | None,
        clients: Sequence[Mapping[str, Any]] = (),
    ) -> Path:
        """Writes a finished experiment; its folder appears whole or not at all.

        Args:
          number: of the experiment, from 0.
          config_text: as YAML.
          records: one a round.
          summary: the closing figures.
          evaluation: accuracy by class and client, or None.
          clients: rows for ``clients.csv``.

        Returns:
          The folder of the experiment.

        Raises:
          CheckpointError: it cannot be written.
        """
        path = self.of(number)
        hidden = path.with_name(f".{path.name}")
        with named(hidden):
            shutil.rmtree(hidden, ignore_errors=True)
            hidden.mkdir()
            files = {
                run_files.CONFIG: run_files.with_versions(config_text, self.versions),
                run_files.METRICS: "".join(to_json(record) + "\n" for record in records),
                run_files.METRICS_TABLE: csv_text(records, columns_of(records)),
                run_files.SUMMARY: to_json(summary, indent=2) + "\n",
            }
            if clients:
                files[run_files.CLIENTS] = csv_text(clients, columns_of(clients))
            if evaluation is not None:
                files[run_files.EVALUATION] = to_json(evaluation, indent=2) + "\n"
            for name, text in files.items():
                (hidden / name).write_text(text, encoding="utf-8")
            os.replace(hidden, path)
        return path

    def write_table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes ``results.csv`` and ``results.parquet``.

        Args:
          rows: as of ``sweep_row``, one a finished experiment.

        Raises:
          CheckpointError: a file cannot be written.
        """
        import pyarrow
        import pyarrow.parquet

        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        csv_path = self.path / f"{TABLE}.csv"
        with named(csv_path):
            write_atomically(csv_path, text.getvalue())
        columns = {name: _column([row.get(name) for row in rows]) for name in names}
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table(columns), sink)
        parquet_path = self.path / f"{TABLE}.parquet"
        with named(parquet_path):
            write_atomically(parquet_path, sink.getvalue().to_pybytes())

    def of(self, number: int) -> Path:
        """The folder of an experiment, finished or not."""
        return self.path / RUNS / f"{number:04d}"


def sweep_row(number: int, point: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table of a sweep.

    Args:
      number: of the experiment, from 0.
      point: value by setting of the axes.
      summary: the closing figures, or a status and an error.

    Returns:
      Plain values by column: ``run``, the axes, then the figures; nested ones are joined by a dot.

    Example:
      >>> sweep_row(0, {"seed": 1}, {"status": "completed", "client_accuracy": {"mean": 0.5}})
      {'run': 0, 'seed': 1, 'status': 'completed', 'client_accuracy.mean': 0.5}
    """
    row: dict[str, Any] = {"run": number}
    for name, value in point.items():
        row[name] = value if isinstance(value, str | int | float | None) else json.dumps(value)
    for name, value in summary.items():
        if isinstance(value, Mapping):
            row |= {f"{name}.{inner}": each for inner, each in value.items()}
        elif name not in _LEFT_OUT and not isinstance(value, list):
            row[name] = value
    return row


def _column(values: list[Any]) -> list[Any]:
    """Values of one type, as a file of columns wants them."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or len(kinds) <= 1:
        return [float(v) if float in kinds and v is not None else v for v in values]
    return [None if value is None else str(value) for value in values]


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
