"""What blocks of pages are made with: raw files, means over seeds, tables and paragraphs."""

import csv
import functools
import json
import pathlib
import re
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"
_COLUMNS = 110
_LINK = re.compile(r"\[[^]]*\](?=\()")  # its text stays on one line


class Raw:
    """The files in benchmarks/results, each read once."""

    def __init__(self, folder: pathlib.Path = RESULTS) -> None:
        self.folder = folder

    @functools.cache  # noqa: B019 - as short-lived as a call of the command
    def __call__(self, name: str) -> Any:
        """What ``name.json`` holds."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    @functools.cache  # noqa: B019
    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of ``name.csv``."""
        with (self.folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def spread(values: Sequence[float], scale: float = 100, decimals: int = 1) -> str:
    """Mean ± standard deviation, rounded once."""
    mean = scale * statistics.fmean(values)
    return f"{mean:.{decimals}f} ± {scale * statistics.stdev(values):.{decimals}f}"


def mean_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    return statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5


def signed(points: float, decimals: int = 1) -> str:
    """A number with its sign; none on a zero."""
    text = f"{points:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def apart(points: float, decimals: int = 1) -> str:
    """A difference in words.

    Example:
      >>> apart(-1.26), apart(0.04)
      ('1.3 points behind', 'level with')
    """
    size = f"{abs(points):.{decimals}f}"
    if float(size) == 0:
        return "level with"
    return f"{size} points {'ahead of' if points > 0 else 'behind'}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ("".join(f"| {cell} " if cell else "| " for cell in line) for line in lines)
    return "\n".join(f"{line}|" for line in cells)


def paragraphs(*texts: str) -> str:
    """Paragraphs and items of lists, wrapped."""
    filled = []
    for text in texts:
        text = _LINK.sub(lambda link: link[0].replace(" ", "\0"), " ".join(text.split()))
        indent = "  " if text.startswith("- ") else ""
        filled.append(
            textwrap.fill(
                text,
                _COLUMNS,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    joined = "\n\n".join(filled).replace("\0", " ")
    return joined.replace("\n\n- ", "\n- ") if filled[0].startswith("- ") else joined
