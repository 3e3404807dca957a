"""What a compiler said of a machine that is not here, for the terminal."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedcode_jax.bench.table import si
from fedcode_jax.results.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_NOTES = (
    "Kernels: what is launched, fusions, library calls and copies, also in loops whose turns the"
    " compiler knows; of a condition the branch with more; a TPU has no launches, but as many"
    " instructions.",
    "FLOP: two a multiply-add of the products and convolutions of the definition, those of a round"
    " at its cohort's mean number of steps. Bytes: every kernel's operands and results, of what is"
    " read or written in part that part, without what a layout pads; those of loops whose turns"
    " nobody knows are not in them, a round's local steps among them.",
    "Memory: arguments, results and what is held meanwhile, on one device. Nothing was run: GPU"
    " kernels are not tuned as they are on the card.",
)


def target_table(record: Mapping[str, Any]) -> "Group":
    """What ``compile_for`` found.

    Args:
      record: as ``compile_for`` gives it.

    Returns:
      Tables and what their figures mean, for a rich console to print.
    """
    from rich.console import Group
    from rich.text import Text

    notes = [Text(note, style="dim") for note in _NOTES]
    told = [Text(line, style="bold red") for line in _offences(record)]
    return Group(_facts(record), _parts(record), *told, *notes)


def _facts(record: Mapping[str, Any]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in record["info"].items():
        table.add_row(name, Text(value))
    packages = ("fedcode_jax", "jax", "jaxlib", "python")
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in packages)
    table.add_row("versions", Text(versions))
    table.add_row("memory of a round", Text(_memory(record)))
    seconds = sum(part["trace_seconds"] + part["compile_seconds"] for part in _all(record))
    table.add_row("compiling", Text(f"{format_seconds(seconds)} for all parts, on this machine"))
    return table


def _all(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(record["parts"].values())


def _memory(record: Mapping[str, Any]) -> str:
    room, memory = record["room"], record["machine"]["memory_bytes"]
    needed = "more" if room["needed_bytes"] is None else format_bytes(room["needed_bytes"])
    if memory is None:
        return f"{needed} on a device; how much that has is not known"
    there = f"{needed} of the {format_bytes(memory)} of a device that a program may fill"
    if room["fits"]:
        return f"{there}: it fits"
    chunk = room["chunk_that_fits"]
    way = f"set execution.chunk to {chunk}" if chunk else "set a smaller batch, cohort or model"
    return f"{there}: IT DOES NOT FIT; {way}"


def _parts(record: Mapping[str, Any]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part", style="bold", no_wrap=True)
    names = ("kernels", "memory", "FLOP", "bytes", "compiler: FLOP", "bytes", "time", "to compile")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for name, part in record["parts"].items():
        own = part.get("compiler") or {}
        memory = part.get("memory_bytes")
        table.add_row(
            name,
            f"{part['kernels']:,}" if "kernels" in part else "no room",
            "" if memory is None else format_bytes(memory["total"]),
            si(part["flop"], "FLOP") if part["flop"] else "",
            format_bytes(part["bytes"]) if "bytes" in part else "",
            *(si(own[key], unit) if key in own else "" for key, unit in _OWN),
            format_seconds(part["trace_seconds"] + part["compile_seconds"]),
        )
        for line, kernels in _loops(name, part):
            table.add_row(line, f"+ {kernels:,}", *[""] * (len(names) - 1), style="dim")
    return table


_OWN = (("flop", "FLOP"), ("bytes", "B"), ("seconds", "s"))


def _loops(name: str, part: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Loops whose turns nobody knows: what they are, and the kernels of a turn."""
    lines: dict[tuple[str, int], int] = {}
    for loop in part.get("open_loops", ()):
        what = "a local step" if loop["of_steps"] else f"a turn in {_place(loop['scope'])}"
        key = (what, loop["kernels_a_turn"])
        lines[key] = lines.get(key, 0) + loop["entered"]
    return [
        (f"  {what}" + (f", {times} loops" if times > 1 else ""), kernels)
        for (what, kernels), times in lines.items()
    ]


def _place(scope: str) -> str:
    """The innermost function that a loop is in, from the path in the traced program."""
    functions = re.findall(r"\bjit\(([^()]+)\)", scope)
    return functions[-1].lstrip("_") if functions else "the program"


def _offences(record: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} has what no round may have: {line}"
        for name, part in record["parts"].items()
        for line in part.get("offences", ())[:3]
    ]
