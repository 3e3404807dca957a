"""The table of a sweep: a row for each experiment that has ended, as CSV and as Parquet."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcode_jax.results.writing import named, write_atomically

TABLE = "results"
_LEFT_OUT = ("wall_seconds", "compile_seconds", "compilations", "plan", "padding_waste")
"""Figures of the machine and of what ran beside, which differ from one start to the next."""


def write_table(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes ``results.csv`` and ``results.parquet``, each whole or not at all.

    Args:
      folder: of the sweep.
      rows: as of ``sweep_row``, one an experiment.

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
    csv_path = folder / f"{TABLE}.csv"
    with named(csv_path):
        write_atomically(csv_path, text.getvalue())
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    parquet_path = folder / f"{TABLE}.parquet"
    with named(parquet_path):
        write_atomically(parquet_path, sink.getvalue().to_pybytes())


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
