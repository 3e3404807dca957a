"""How a header says what parts a section of levels has: one size for all, or each its own."""

from fedcode_jax.wire import probabilities
from fedcode_jax.wire.reading import DecodeError, Reader


def named(parts: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes that a header says: one where all are equal, but the last may be shorter.

    Args:
      parts: the number of levels of each part; none or one where there is one part.

    Example:
      >>> named((4, 4, 3)), named((4, 3, 4)), named((7,))
      ((4,), (4, 3, 4), ())
    """
    if len(parts) < 2:
        return ()
    size = parts[0]
    equal = 1 <= parts[-1] <= size and parts[:-1].count(size) == len(parts) - 1
    return (size,) if equal else parts


def read(reader: Reader, size: int) -> tuple[int, ...]:
    """What ``named`` made of parts with ``size`` levels together."""
    (count,) = reader.unpack("<H")
    said = reader.unpack(f"<{count}I")
    if count == 1 and not 1 <= said[0] < size:
        raise DecodeError(f"parts of {said[0]} of {size} levels")
    if count > 1 and sum(said) != size:
        raise DecodeError(f"{count} parts of {sum(said)} levels; {size} are there")
    return said


def count(said: tuple[int, ...], size: int) -> int:
    """How many parts there are, at least 1.

    Example:
      >>> count((4,), 11), count((4, 3, 4), 11), count((), 11)
      (3, 3, 1)
    """
    return -(-size // said[0]) if len(said) == 1 else max(1, len(said))


def unfolded(said: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The inverse of ``named``; memory for each part, so not before the body is there.

    Example:
      >>> unfolded((4,), 11), unfolded((4,), 8)
      ((4, 4, 3), (4, 4))
    """
    if len(said) != 1:
        return said
    others = count(said, size) - 1
    return (*said * others, size - others * said[0])


def num_blocks(said: tuple[int, ...], size: int) -> int:
    """How many blocks adaptive levels are cut into.

    Example:
      >>> num_blocks((40,), 120), num_blocks((40,), 130), num_blocks((40, 0, 90), 130)
      (6, 7, 5)
    """

    def blocks(*parts: int) -> int:
        return len(probabilities.block_ends(parts, probabilities.ADAPTIVE_GROWTH))

    if len(said) != 1:
        return blocks(*said or (size,))
    whole, rest = divmod(size, said[0])
    return whole * blocks(*said) + blocks(rest)
