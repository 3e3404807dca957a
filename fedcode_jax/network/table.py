"""Links of clients from a file of the user's own."""

import csv
import math
import os
from pathlib import Path

import numpy as np

from fedcode_jax.errors import DataError
from fedcode_jax.names import looked_in

COLUMNS = ("uplink_mbit", "downlink_mbit", "round_trip", "samples_per_second")
"""The columns of a table of clients; the first two are needed."""

LIMITS = {
    "uplink_mbit": (1e-9, 1e24),
    "downlink_mbit": (1e-9, 1e24),
    "round_trip": (0.0, 1e30),
    "samples_per_second": (1e-9, 1e30),
}
"""The smallest and the largest number of each column; with them all times are finite numbers."""


def read_table(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a table of clients.

    Args:
      path: a CSV file whose first row names columns of ``COLUMNS``, in any order. Blank lines
        do not count.

    Returns:
      f64[rows] by column.

    Raises:
      DataError: the file is missing, or a column, a row or a number is wrong.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        where = looked_in(path) if isinstance(error, FileNotFoundError) else ""
        raise DataError(
            f"network.table: {path}: cannot be read: {error.strerror or error}{where}"
        ) from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"network.table: {path}: cannot be read ({error})") from error
    names, rows = [name.strip() for name in lines[0][1]] if lines else [], lines[1:]
    unknown = [f"has a column {name!r}" for name in names if name not in COLUMNS]
    twice = [f"has two columns {name}" for name in COLUMNS if names.count(name) > 1]
    missing = [f"lacks {name}" for name in COLUMNS[:2] if name not in names]
    for complaint in [*unknown, *twice, *missing, *([] if rows else ["lacks rows"])]:
        raise DataError(
            f"network.table: {path}: {complaint}; its first row must name {COLUMNS[0]} and"
            f" {COLUMNS[1]}, and may name {COLUMNS[2]} and {COLUMNS[3]}; each other row is a client"
        )
    values = np.empty((len(rows), len(names)))
    for i, (line, row) in enumerate(rows):
        where = f"network.table: {path}, line {line}"
        if len(row) != len(names):
            raise DataError(f"{where}: has {len(row)} values, and the first row {len(names)}")
        for j, (name, text) in enumerate(zip(names, row, strict=True)):
            values[i, j] = _number(text)
            low, high = LIMITS[name]
            if not low <= values[i, j] <= high:
                raise DataError(
                    f"{where}: {name} is {text!r}; give a finite number from {low:g} to {high:g}"
                )
    return dict(zip(names, values.T, strict=True))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
