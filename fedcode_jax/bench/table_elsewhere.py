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
    "Nothing was run. Kernels, memory and bytes are those of one device.",
    "Kernels: fusions, library calls, copies and the like, also in loops whose turns the compiler"
    " knows; +, in one turn of a loop of unknown turns. Of a condition the branch with more.",
    "Memory: arguments, results and what is held meanwhile. Bytes: each kernel's operands and"
    " results, of what is read or written in part that part, without what a layout pads; as for"
    " kernels, without loops of unknown turns.",
    "FLOP: two a multiply-add of the products and convolutions of the definition; of a round all"
    " its steps, and like those of an evaluation on all devices together. Compiler: its own"
    " figures, where it gives them and knows the turns of all loops.",
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
    level = record["optimization_level"]
    how = "" if level is None else f", with JAX_OPTIMIZATION_LEVEL {level}"
    said = f"{format_seconds(seconds)} for all parts, on this machine{how}"
    table.add_row("compiling", Text(said))
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
        for line, kernels in _loops(part, record["steps"]["in_turn"]):
            table.add_row(line, f"+ {kernels:,}", *[""] * (len(names) - 1), style="dim")
    return table


_OWN = (("flop", "FLOP"), ("bytes", "B"), ("seconds", "s"))


def _loops(part: Mapping[str, Any], steps: float) -> list[tuple[str, int]]:
    """Loops whose turns the compiler does not know: what they are, and the kernels of a turn."""
    lines: dict[tuple[str, int], int] = {}
    for loop in part.get("open_loops", ()):
        what = f"a turn in {_place(loop['scope'])}"
        if loop["of_steps"]:
            what = f"a local step, one of {steps:,.4g}"
        key = (what, loop["kernels_a_turn"])
        lines[key] = lines.get(key, 0) + loop["entered"]
    return [
        (f"  {what}" + (f", {times} loops" if times > 1 and "turn in" in what else ""), kernels)
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
