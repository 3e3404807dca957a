"""The tables of ``rivals.py``, and which method needs the fewest bytes at FedAvg's accuracy."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from rivals_pieces import Piece
from rivals_variants import Variant, in_words
from updates import MOST_BELOW, complete, differences, figure_cells, mean, spread

from fedcode_jax.config import ExperimentConfig, flattened, to_dict
from fedcode_jax.config.algorithms import FedAvg
from fedcode_jax.config.presets import composition

JUDGED = ("last_ten_accuracy", "last_ten_deployed_accuracy")
PERSONAL = "last_ten_personal_accuracy"
HEAD = (
    "method",
    "composition",
    "seeds",
    "mean of last 10 rounds",
    "less FedAvg",
    "the same, as deployed",
    "less FedAvg",
    "MB up",
    "MB down",
    "reduction",
)


@dataclasses.dataclass
class Row:
    """A method on a partition.

    Attributes:
      method: by name.
      variant: what it is, and what it is compared with.
      config: of its first seed.
      runs: figures of each seed that there is, in order.
      apart: differences to its reference, as of ``differences``; None of the reference itself, or
        where there are none.
      from_fedavg: the same to FedAvg at the settings of the task.
    """

    method: str
    variant: Variant
    config: ExperimentConfig
    runs: list[dict[str, Any]]
    apart: dict[str, Any] | None = None
    from_fedavg: dict[str, Any] | None = None

    @property
    def bytes(self) -> float:
        """Both ways, of all clients and rounds; mean over the seeds."""
        return mean(self.runs, "total_uplink_bytes") + mean(self.runs, "total_downlink_bytes")


def rows_of(
    records: Iterable[tuple[Piece, dict[str, Any]]], partition: str, variants: dict[str, Variant]
) -> list[Row]:
    """The rows of a partition, from most bytes to fewest; what did not complete is last.

    Args:
      records: pieces with their records.
      partition: by name.
      variants: by method.
    """
    found: dict[str, Row] = {}
    for piece, record in records:
        own = [run for run in record["runs"] if run["partition"] == partition]
        if not own:
            continue
        row = found.setdefault(
            piece.method, Row(piece.method, variants[piece.method], piece.config, [])
        )
        row.runs = sorted([*row.runs, *own], key=lambda run: run["seed"])
    for row in found.values():
        if row.method != row.variant.reference:
            row.apart = apart(row, found.get(row.variant.reference))
        row.from_fedavg = apart(row, found.get("fedavg"))
    return sorted(
        found.values(), key=lambda row: -row.bytes if complete(row.runs) else float("inf")
    )


def apart(row: Row, reference: Row | None) -> dict[str, Any] | None:
    """Differences over the seeds that both have; None without any."""
    if reference is None:
        return None
    theirs = {run["seed"]: run for run in reference.runs}
    own = [run for run in row.runs if run["seed"] in theirs]
    return differences(own, [theirs[run["seed"]] for run in own]) if own else None


def composed(row: Row) -> str:
    """What a method is made of: FedAvg's parts, or settings of its own; and what else it needs."""
    algorithm = row.config.algorithm
    if isinstance(algorithm, FedAvg):
        text = composition(algorithm).removeprefix(f"{algorithm.name}: ")
    else:
        own = flattened({"algorithm": to_dict(row.config)["algorithm"]})
        settings = {name.removeprefix("algorithm."): value for name, value in own.items()}
        text = settings.pop("name")
        if settings.get("aggregation.name") == "mean":
            del settings["aggregation.name"]
        if settings:
            text += f" ({', '.join(f'{name} {value}' for name, value in settings.items())})"
    return "; ".join([text, *map(in_words, row.variant.besides.items())])


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of the Markdown table; with the clients' own models where there are any."""
    personal = any(PERSONAL in run for row in rows for run in row.runs)
    lines = [markdown([*HEAD, *["clients' own models"] * personal])]
    lines.append("| --- " * (len(HEAD) + personal) + "|")
    for row in rows:
        cells = [f"`{row.method}`", composed(row), len(row.runs)]
        cells += figure_cells(row.runs, row.apart)
        if personal:
            own = all(PERSONAL in run for run in row.runs)
            cells.append(spread([run[PERSONAL] for run in row.runs]) if own else "")
        lines.append(markdown(cells))
    return lines


def markdown(cells: Iterable[Any]) -> str:
    return "".join(f"| {str(cell).replace('|', chr(92) + '|')} " for cell in cells) + "|"


def fewest(rows: Sequence[Row]) -> list[Row]:
    """The methods at FedAvg's accuracy, from the fewest bytes on.

    Both the server's and the deployed accuracy, as means of the last ten rounds over all seeds of
    FedAvg, are at most ``MOST_BELOW`` points below FedAvg's at the settings of the task.
    """
    fedavg = next((row for row in rows if row.method == "fedavg"), None)
    if fedavg is None:
        return []
    good = [
        row
        for row in rows
        if row.from_fedavg
        and len(row.runs) == len(fedavg.runs)
        and min(row.from_fedavg[name]["mean"] for name in JUDGED) >= -MOST_BELOW
    ]
    return sorted(good, key=lambda row: row.bytes)


def answer(rows: Sequence[Row], where: str) -> str:
    """Which method needs the fewest bytes at FedAvg's accuracy, in words."""
    good = fewest(rows)
    if not good:
        return f"{where}: FedAvg itself is not there yet."

    def told(row: Row) -> str:
        below = min(row.from_fedavg[name]["mean"] for name in JUDGED)  # type: ignore[index]
        times = mean(row.runs, "reduction_vs_fedavg")
        return f"`{row.method}` ({row.bytes / 1e6:.2f} MB, {times:.1f} times fewer, {below:+.2f})"

    first, *others = map(told, good)
    text = (
        f"{where}: of {len(rows)} methods {len(good)} are at FedAvg's accuracy, at most "
        f"{MOST_BELOW} points below it both as the server has it and as deployed (means of the "
        f"last ten rounds over {len(good[0].runs)} seeds). The one that needs the fewest bytes, "
        f"both ways, is {first}"
    )
    return f"{text}; then {', '.join(others[:3])}." if others else f"{text}."


def page(
    title: str,
    parts: dict[str, list[Row]],
    records: Sequence[dict[str, Any]],
    notes: Sequence[str],
    picture: str,
) -> str:
    """The Markdown page of a task.

    Args:
      title: of the task.
      parts: rows by partition.
      records: all of them, for what made them.
      notes: what there is not, and why.
      picture: name of its file.
    """
    lines = [
        f"# Accuracy against measured bytes: {title}",
        "",
        "Accuracy in percent, mean ± standard deviation over the seeds; differences in points, "
        "seed by seed, ± standard error, to FedAvg under the same settings of training; megabytes "
        "(1,000,000 bytes) of the whole run and all clients, the first broadcast included; "
        "reduction of both ways together.",
    ]
    for partition, rows in parts.items():
        lines += [
            "",
            f"## {partition}",
            "",
            answer(rows, f"{title}, {partition}"),
            "",
            *table(rows),
        ]
    lines += ["", f"![accuracy against bytes]({picture})", ""]
    lines += [f"- {note}" for note in notes]
    checksums = {run["data_checksum"] for each in records for run in each["runs"] if "plan" in run}
    if len(checksums) > 1:
        lines.append("- **The records are not all of the same data.**")
    made = {
        f"- Made by `{each['command']}`, {each['date']}, {each['versions']['device']}, "
        f"{each['cores']} cores, JAX {each['versions']['jax']}."
        for each in records
    }
    return "\n".join([*lines, *sorted(made)]) + "\n"
