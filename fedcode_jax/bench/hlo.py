"""Compiled programs as text: what XLA's optimised HLO says, instruction by instruction.

The text is the one account that every backend gives, also of a machine that is not here.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_BYTES = {"pred": 1, "token": 0, "opaque": 0, "c64": 8, "c128": 16}
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([^\]]*)\]")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*->.*\{$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_NAME = re.compile(r"%([\w.\-]+)")
_ONE = r"\b{}=%?([\w.\-]+)"
_SEVERAL = re.compile(
    r"\b(?:branch_computations|called_computations|calls|true_computation|false_computation|"
    r"to_apply)=(\{[^}]*\}|%?[\w.\-]+)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_SCOPE = re.compile(r'\bop_name="([^"]*)"')
_TARGET = re.compile(r'\bcustom_call_target="([^"]*)"')
_CALLBACK = re.compile(r"callback", re.IGNORECASE)
_TO_HOST = ("infeed", "outfeed")
_DYNAMIC = ("PadToStatic", "SliceToDynamic")


class Instruction(NamedTuple):
    """One instruction of a computation.

    Attributes:
      name: unique in its program.
      opcode: such as ``fusion``.
      shape: of its result, as the text has it.
      operands: names of other instructions of its computation.
      called: computations that it calls; of a loop its body, then its condition.
      trips: turns of a loop, where XLA knows them; else None.
      scope: where in the traced program it comes from.
      target: what a custom call calls.
      number: of a parameter, which argument it is; else None.
      attributes: all that follows its operands.
      root: whether it is its computation's result.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    called: tuple[str, ...]
    trips: int | None
    scope: str
    target: str
    number: int | None
    attributes: str
    root: bool


class Module(NamedTuple):
    """A compiled program.

    Attributes:
      computations: the instructions of each, by name.
      entry: the name of that which the program begins with.
    """

    computations: dict[str, list[Instruction]]
    entry: str


def parse(text: str) -> Module:
    """Reads the text of a compiled program.

    Args:
      text: as ``compiled.as_text()`` gives it.

    Returns:
      The program.

    Raises:
      ValueError: a text without an entry computation.

    Example:
      >>> import jax
      >>> module = parse(jax.jit(lambda x: x * 2 + 1).lower(1.0).compile().as_text())
      >>> [one.opcode for one in module.computations[module.entry]][0]
      'parameter'
    """
    computations: dict[str, list[Instruction]] = {}
    entry, name = "", None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            name = header[2]
            computations[name] = []
            entry = name if header[1] else entry
        elif line.startswith("}"):
            name = None
        elif name is not None and (found := _instruction(line)) is not None:
            computations[name].append(found)
    if not entry:
        raise ValueError("no entry computation: this is not the text of a compiled program")
    return Module(computations, entry)


def _instruction(line: str) -> Instruction | None:
    start = _LINE.match(line)
    if start is None:
        return None
    rest = line[start.end() :]
    end = _closing(rest) + 1 if rest.startswith("(") else rest.index(" ")
    opcode = _OPCODE.match(rest, end)
    if opcode is None:
        return None
    first = opcode.end() - 1
    last = first + _closing(rest[first:])
    attributes, inner = rest[last + 1 :], rest[first + 1 : last]
    trips, scope, target = (p.search(attributes) for p in (_TRIPS, _SCOPE, _TARGET))
    return Instruction(
        name=start[2],
        opcode=opcode[1],
        shape=rest[:end],
        operands=tuple(_NAME.findall(inner)),
        called=tuple(_called(opcode[1], attributes)),
        trips=None if trips is None else int(trips[1]),
        scope="" if scope is None else scope[1],
        target="" if target is None else target[1],
        number=int(inner) if opcode[1] == "parameter" else None,
        attributes=attributes,
        root=start[1] is not None,
    )


def _closing(text: str) -> int:
    """The place of the parenthesis that closes the one which the text begins with."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return i
    return len(text) - 1


def _called(opcode: str, attributes: str) -> Iterator[str]:
    if opcode == "while":
        for part in ("body", "condition"):
            found = re.search(_ONE.format(part), attributes)
            if found:
                yield found[1]
        return
    for several in _SEVERAL.findall(attributes):
        yield from (name.strip().lstrip("%") for name in several.strip("{}").split(","))


def shape_bytes(shape: str) -> int:
    """Bytes of an array or a tuple of arrays, without what a layout pads.

    Args:
      shape: as the text has it.

    Returns:
      Bytes; numbers of less than a byte count one.

    Example:
      >>> shape_bytes("(f32[2,3]{1,0:T(8,128)}, bf16[4], pred[])")
      33
    """
    total = 0
    for kind, dimensions in _ARRAY.findall(shape):
        size = 1
        for dimension in filter(None, dimensions.split(",")):
            size *= int(dimension.replace("<=", ""))
        total += size * _item_bytes(kind)
    return total


def _item_bytes(kind: str) -> int:
    if kind in _BYTES:
        return _BYTES[kind]
    bits = re.search(r"\d+", kind)
    return 1 if bits is None else max(1, int(bits[0]) // 8)


def offences(module: Module) -> list[str]:
    """What no program of a round may have: host callbacks, float64, dynamic shapes.

    A callback stops the device until Python has answered; float64 is slow, and on a TPU not
    there; the size of a dynamic shape is read back before the program goes on.

    Args:
      module: a compiled program.

    Returns:
      A line for each, in the order of the text, with the instruction and where it comes from.

    Example:
      >>> lines = "ENTRY %main (p: f64[2]) -> f64[2] {", "  ROOT %p = f64[2]{0} parameter(0)", "}"
      >>> offences(parse(chr(10).join(lines)))
      ['float64: %p = f64[2]{0} parameter']
    """
    found = []
    for instructions in module.computations.values():
        for one in instructions:
            where = f": %{one.name} = {one.shape[:60]} {one.opcode}"
            where += f" ({one.scope})" if one.scope else ""
            host = one.opcode in _TO_HOST or "is_host_transfer=true" in one.attributes
            if host or _CALLBACK.search(one.target):
                found.append("host callback" + where)
            kinds = _ARRAY.findall(one.shape)
            if any(kind in ("f64", "c128") for kind, _ in kinds):
                found.append("float64" + where)
            if one.target in _DYNAMIC or any("<=" in dimensions for _, dimensions in kinds):
                found.append("dynamic shape" + where)
    return found
