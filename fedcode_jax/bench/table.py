"""What was measured, for the terminal."""

import math
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedcode_jax.bench.measuring import REST, ROUND
from fedcode_jax.bench.parts import AGGREGATION, CODES, PARTS, TRAINING
from fedcode_jax.results.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_PREFIXES = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P"}
_PREFIXED = ("s", "B", "B/s", "FLOP", "FLOP/s")
_NOTES = (
    "The round is the first of a run, with its evaluation, again in every call. Seconds are medians"
    " of calls in turns, with their range.",
    "The rest is the round less the parts, each of which is a program of its own here: sampling,"
    " sizes of messages, bookkeeping, and what is gained or lost by compiling all together.",
    f"{CODES}: the broadcast, every client's start from it and every upload; without codebooks,"
    " the float messages.",
    "FLOP: two a multiply-add of matrix products and convolutions; a layer counts once forward and"
    " twice backward, the first one once backward; batches are whole, padding steps included.",
    f"bytes: {CODES}, the weights read and the messages written; {AGGREGATION}, the messages read"
    " and the server's state read and written; each once, however many passes are made.",
)


def speed_table(record: Mapping[str, Any]) -> "Group":
    """The figures of ``measure``.

    Args:
      record: as ``measure`` gives it.

    Returns:
      Two tables and what their figures mean, for a rich console to print.
    """
    from rich.console import Group
    from rich.text import Text

    notes = [Text(note, style="dim") for note in _NOTES]
    return Group(_facts(record), _parts(record), *notes)


def _facts(record: Mapping[str, Any]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, value: str) -> None:
        table.add_row(name, Text(value))

    for name, value in record["info"].items():
        row(name, value)
    packages = ("fedcode_jax", "jax", "jaxlib", "python")
    row("versions", ", ".join(f"{name} {record['versions'][name]}" for name in packages))
    found, counts = record["figures"], record["counts"]
    probing = ", trial rounds" if record["config"]["execution"]["plan"] == "probe" else ""
    row(
        "start-up",
        f"{format_seconds(record['startup_seconds'])} (data, partition, weights{probing})",
    )
    compiling = f"{format_seconds(record['compile_seconds'])} (a round and its evaluation"
    reads = record["compilation_cache_reads"]
    kept = "; JAX's compilation cache was read" if reads else ""
    row("compiling", f"{compiling}{kept})")
    row("a round", _spread(record["seconds"][ROUND]))
    row("  clients", si(found["clients_per_second"], "clients/s"))
    row(
        "  samples",
        f"{si(found['samples_per_second'], 'samples/s')} (those trained on, in every epoch)",
    )
    row("  local steps", si(found["steps_per_second"], "steps/s"))
    row(
        "padding waste",
        f"{100 * found['padding_waste']:.1f} % of the clients' {counts['needed_steps']:,} steps",
    )
    memory = record["memory_bytes"]["round_per_device"]
    if memory is not None:
        row(
            "memory of a round",
            f"{format_bytes(memory['total'])} a device (temporary "
            f"{format_bytes(memory['temporary'])}, arguments {format_bytes(memory['arguments'])}, "
            f"results {format_bytes(memory['results'])}, of these "
            f"{format_bytes(memory['shared'])} shared)",
        )
    peak = record["memory_bytes"]["process_peak_resident"]
    if peak is not None:
        row("peak of the process", f"{format_bytes(peak)} resident, compiling included")
    return table


def _parts(record: Mapping[str, Any]) -> "Table":
    from rich import box
    from rich.table import Table

    found, references = record["figures"], record["references"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part", style="bold", no_wrap=True)
    table.add_column("seconds (range)", no_wrap=True)
    for name in ("share", "speed", "of product / copy"):
        table.add_column(name, justify="right", no_wrap=True)

    product, copy = found["product_flop_per_second"], found["copy_bytes_per_second"]
    speeds = {TRAINING: (found["training_flop_per_second"], "FLOP/s", product)}
    for name in (CODES, AGGREGATION):
        speeds[name] = (found["bytes_per_second"][name], "B/s", copy)
    for name in PARTS:
        speed = limit = ""
        if name in speeds:
            rate, unit, most = speeds[name]
            speed, limit = si(rate, unit), _percent(rate / most)
        share = _percent(found["shares_of_round"][name])
        table.add_row(name, _spread(record["seconds"][name]), share, speed, limit)
    share = found["shares_of_round"][REST]
    rest = share * found["median_seconds"][ROUND]
    table.add_row(REST, si(rest, "s"), _percent(share), "", "")
    table.add_section()
    for name, rate, unit in (("product", product, "FLOP/s"), ("copy", copy, "B/s")):
        seconds = _spread(record["seconds"][name])
        table.add_row(references[name], seconds, "", si(rate, unit), "")
    return table


def si(value: float, unit: str) -> str:
    """A figure to three significant digits with a decimal prefix of its unit.

    Args:
      value: in the unit.
      unit: such as ``s`` or ``FLOP/s``.

    Returns:
      The figure.

    Example:
      >>> si(0.01234, "s"), si(2.5e9, "FLOP/s"), si(431.9, "clients/s"), si(0, "B/s")
      ('12.3 ms', '2.50 GFLOP/s', '432 clients/s', '0 B/s')
      >>> si(56_789, "samples/s"), si(9.999e5, "B/s")
      ('56,800 samples/s', '1.00 MB/s')
    """
    if value == 0:
        return f"0 {unit}"
    power = math.floor(math.log10(abs(value)))
    value = round(value, 2 - power)  # may reach the next prefix
    power = math.floor(math.log10(abs(value)))
    thousands = power // 3 if unit in _PREFIXED else 0
    thousands = max(-3 if unit == "s" else 0, min(thousands, 0 if unit == "s" else 5))
    scaled = value / 1000.0**thousands
    digits = max(0, 2 - (power - 3 * thousands))
    return f"{scaled:,.{digits}f} {_PREFIXES[thousands]}{unit}"


def _spread(seconds: list[float]) -> str:
    """The median and the range."""
    middle = si(statistics.median(seconds), "s")
    return f"{middle} ({si(min(seconds), 's')} to {si(max(seconds), 's')})"


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.1f} %" if abs(percent) >= 0.1 else f"{percent:.2g} %"
