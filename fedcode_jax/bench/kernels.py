"""What a compiled program has its device do: kernels, and the loops that they are in."""

import dataclasses
from collections.abc import Iterator

from fedcode_jax.bench.hlo import Instruction, Module, shape_bytes

_NOTHING = frozenset(
    (
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "domain"),
        *("add-dependency", "opt-barrier", "partition-id", "replica-id", "get-dimension-size"),
    )
)
"""Instructions that nothing is launched for."""
_NO_WORK = frozenset(("AllocateBuffer", "AssumeGatherIndicesInBound", "ConcatBitcast"))
"""Custom calls likewise."""
_ALWAYS = frozenset(("fusion", "custom-call", "copy", "copy-start"))
"""What is launched even if it works on numbers alone."""
_CALLS = frozenset(("while", "conditional", "call"))
_READ_IN_PART = frozenset(("dynamic-slice", "gather", "slice"))


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One launch: a fusion, a library call, a copy, a sort, or another instruction by itself.

    Attributes:
      opcode: of its instruction.
      bytes: that it reads and writes, each operand and result once; of one that is read or
        written in part only that part.
      scope: where in the traced program it comes from.
    """

    opcode: str
    bytes: int
    scope: str


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop of a program.

    Attributes:
      scope: where in the traced program it comes from.
      trips: turns, where the compiler knows them; else None.
      turn: what one turn does, its condition included.
    """

    scope: str
    trips: int | None
    turn: "Block"


@dataclasses.dataclass(frozen=True)
class Block:
    """What is launched one after another, and the loops in between.

    Attributes:
      own: kernels outside the loops.
      loops: in the order of the program.
    """

    own: tuple[Kernel, ...] = ()
    loops: tuple[Loop, ...] = ()

    @property
    def kernels(self) -> int:
        """Launches, with those of loops whose turns are known."""
        known = (loop for loop in self.loops if loop.trips is not None)
        return len(self.own) + sum(loop.turn.kernels * (loop.trips or 0) for loop in known)

    @property
    def bytes(self) -> int:
        """Bytes that these kernels read and write."""
        known = (loop for loop in self.loops if loop.trips is not None)
        own = sum(kernel.bytes for kernel in self.own)
        return own + sum(loop.turn.bytes * (loop.trips or 0) for loop in known)

    def every_loop(self) -> Iterator[Loop]:
        """The loops, also those inside of others, the outer ones first."""
        for loop in self.loops:
            yield loop
            yield from loop.turn.every_loop()

    def open_loops(self, times: int = 1) -> Iterator[tuple[Loop, int]]:
        """The loops whose turns are not known, and how often each is entered.

        Those inside of another such loop are entered as often in each of its turns.
        """
        for loop in self.loops:
            if loop.trips is None:
                yield loop, times
                yield from loop.turn.open_loops(1)
            else:
                yield from loop.turn.open_loops(times * loop.trips)

    def loop_of(self, scope: str) -> Loop | None:
        """The innermost loop that has all that comes from a part of the traced program.

        Args:
          scope: a name given by ``jax.named_scope``.

        Returns:
          The loop, or None if some of that part is outside of loops, or nothing comes from it.
        """
        block, found = self, None
        while not any(scope in kernel.scope for kernel in block.own):
            inner = [loop for loop in block.loops if loop.turn.has(scope)]
            if len(inner) != 1:
                return None
            (found,) = inner
            block = found.turn
        return found

    def has(self, scope: str) -> bool:
        """Whether a kernel, also one in a loop, comes from a part of the traced program."""
        return any(scope in kernel.scope for kernel in self.own) or any(
            loop.turn.has(scope) for loop in self.loops
        )


def blocks(module: Module) -> Block:
    """The kernels and loops of a compiled program.

    Of a condition the branch with the most kernels counts.

    Args:
      module: as ``hlo.parse`` reads it.

    Returns:
      The whole program.

    Example:
      >>> import jax
      >>> from fedcode_jax.bench.hlo import parse
      >>> def thrice(x):
      ...     return jax.lax.fori_loop(0, 3, lambda i, x: x @ x, x)
      >>> program = jax.jit(thrice).lower(jax.numpy.ones((9, 9))).compile()
      >>> [loop.trips for loop in blocks(parse(program.as_text())).loops]
      [3]
    """
    return _block(module, module.entry)


def _block(module: Module, name: str) -> Block:
    instructions = module.computations.get(name, [])
    shapes = {one.name: one.shape for one in instructions}
    own: list[Kernel] = []
    loops: list[Loop] = []
    for one in instructions:
        if one.opcode == "while":
            turn = _joined([_block(module, called) for called in one.called])
            loops.append(Loop(one.scope, one.trips, turn))
        elif one.opcode in _CALLS:
            inner = [_block(module, called) for called in one.called]
            chosen = max(inner, key=_weight, default=Block())
            own.extend(chosen.own)
            loops.extend(chosen.loops)
        elif _is_launched(one, shapes):
            own.append(Kernel(one.opcode, _bytes(one, shapes, module), one.scope))
    return Block(tuple(own), tuple(loops))


def _joined(parts: list[Block]) -> Block:
    own = tuple(kernel for part in parts for kernel in part.own)
    return Block(own, tuple(loop for part in parts for loop in part.loops))


def _weight(block: Block) -> int:
    """Kernels, one turn of each loop that nobody knows the turns of included."""
    return block.kernels + sum(loop.turn.kernels for loop, _ in block.open_loops())


def _is_launched(one: Instruction, shapes: dict[str, str]) -> bool:
    if one.opcode in _NOTHING or one.opcode.endswith(("-done", "-update")):
        return False
    if one.opcode in _ALWAYS:
        return one.target not in _NO_WORK
    # Numbers by themselves are worked out beside the kernels, by a TPU's scalar unit.
    return any("[]" not in shape for shape in (one.shape, *(shapes[n] for n in one.operands)))


def _bytes(one: Instruction, shapes: dict[str, str], module: Module) -> int:
    """What a kernel reads and writes."""
    operands = [shape_bytes(shapes.get(name, "")) for name in one.operands]
    if one.opcode in ("copy", "copy-start"):
        return 2 * sum(operands[:1])
    if one.opcode in _READ_IN_PART:
        return 2 * shape_bytes(one.shape) + sum(operands[1:])
    if one.opcode == "dynamic-update-slice":
        return 2 * sum(operands[1:2])
    if one.opcode != "fusion" or not one.called:
        return sum(operands) + shape_bytes(one.shape)
    inside = module.computations.get(one.called[0], [])
    parts = _reads(inside, len(operands))
    read = sum(map(_least, operands, parts))
    return read + _written(inside, shape_bytes(one.shape))


def _least(whole: int, part: int | None) -> int:
    return whole if part is None else min(whole, part)


def _reads(inside: list[Instruction], count: int) -> list[int | None]:
    """Bytes that a fusion reads of each of its operands, or None for all of it."""
    numbers = {one.name: one.number for one in inside if one.opcode == "parameter"}
    parts: list[int | None] = [0] * count
    for one in inside:
        for place, name in enumerate(one.operands):
            number = numbers.get(name)
            if number is None or number >= count:
                continue
            before = parts[number]
            if place == 0 and one.opcode in _READ_IN_PART and before is not None:
                parts[number] = before + shape_bytes(one.shape)
            elif place == 0 and one.opcode == "dynamic-update-slice" and before is not None:
                continue  # written in place
            else:
                parts[number] = None
    return parts


def _written(inside: list[Instruction], whole: int) -> int:
    """Bytes that a fusion writes: of what it updates in place only the update."""
    root = next((one for one in inside if one.root), None)
    by_name = {one.name: one for one in inside}
    if root is None:
        return whole
    results = [root] if root.opcode != "tuple" else [by_name[n] for n in root.operands]
    total = 0
    for one in results:
        while one.opcode == "bitcast" and one.operands[0] in by_name:
            one = by_name[one.operands[0]]
        updated = one.opcode == "dynamic-update-slice" and len(one.operands) > 1
        shape = by_name[one.operands[1]].shape if updated else one.shape
        total += shape_bytes(shape)
    return min(total, whole)
