"""What happens to files: one mutator, for whatever is read."""

import random
import re

_HOSTILE = (
    *(b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"1.5", b"[]", b"{}", b'""', b"''"),
    *(b"[[[[", b"}}}}", b"\x00", b"\xff\xfe", b"\xe2\x80\xa8", b"\r", b"99999999999999999999999"),
    *(b"- - - a", b"&a [*a]", b"? :", b"!!python/object:os.system {}", b"../../../x", b",,,"),
)
"""What is put in place of a word or a number of a text."""
_VALUES = (
    *(b"null", b"true", b"-1", b"0", b"1e999", b"-1e999", b"1.5", b"1" * 400, b"NaN", b"[]", b"{}"),
    *(
        b'""',
        b'"x"',
        b'["x"]',
        b"[[1], {}]",
        b'{"a": {"b": null}}',
        b"[null]",
        b"1e-400",
        b'"\\u0000"',
    ),
)
"""What is put in place of a value, so that the text around it stays well formed."""
_VALUE = re.compile(rb"""(?<=[:,\[])[ \t]*("[^"\n]*"|[^\s,{}\[\]:"']+)""")


def mutate(rng: random.Random, data: bytes, other: bytes) -> tuple[str, bytes]:
    """A file after a mishap.

    Args:
      rng: says which mishap, and where.
      data: the file.
      other: another file of its kind.

    Returns:
      What happened, and the file then.
    """
    kinds = [*_ANY, *_OF_TEXT] if _is_text(data) else list(_ANY)
    name = rng.choice(kinds)
    return name, {**_ANY, **_OF_TEXT}[name](rng, data, other)


def _is_text(data: bytes) -> bool:
    return b"\0" not in data[:4096] and data.isascii()


def _truncated(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _flipped(rng: random.Random, data: bytes, other: bytes) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        broken[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(broken)


def _overwritten(rng: random.Random, data: bytes, other: bytes) -> bytes:
    broken, place = bytearray(data), _place(rng, data)
    broken[place] = rng.choice((0, 1, 9, 10, 34, 44, 127, 128, 255))
    return bytes(broken)


def _foreign(rng: random.Random, data: bytes, other: bytes) -> bytes:
    strangers = (other, rng.randbytes(rng.randrange(200)), b"", b"\n", b"{}", b"PK\x03\x04")
    return rng.choice(strangers)


def _spliced(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + other[rng.choice((place, rng.randrange(len(other)))) :]


def _zeroed(rng: random.Random, data: bytes, other: bytes) -> bytes:
    first = _place(rng, data)
    last = min(len(data), first + rng.choice((1, 4, 64, 4096, len(data))))
    return data[:first] + bytes(last - first) + data[last:]


def _inserted(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place = _place(rng, data)
    return data[:place] + rng.randbytes(rng.randint(1, 8)) + data[place:]


def _removed(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place = _place(rng, data)
    return data[:place] + data[place + rng.randint(1, 40) :]


def _repeated(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place = _place(rng, data)
    part = data[place : place + rng.randint(1, 40)]
    return data[:place] + part + data[place:]


def _line_doubled(rng: random.Random, data: bytes, other: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    row = rng.randrange(len(lines))
    lines.insert(rng.choice((row, rng.randrange(len(lines) + 1))), lines[row])
    return b"".join(lines)


def _line_removed(rng: random.Random, data: bytes, other: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def _word_replaced(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A number or a word of a text, with its quotes or without, becomes another."""
    places = [i for i in range(1, len(data)) if data[i : i + 1].isalnum() != _before(data, i)]
    if len(places) < 2:
        return data + rng.choice(_HOSTILE)
    which = rng.randrange(len(places) - 1)
    first, last = places[which], places[which + 1]
    if rng.random() < 0.5 and data[first - 1 : first] == data[last : last + 1] == b'"':
        first, last = first - 1, last + 1
    return data[:first] + rng.choice(_HOSTILE) + data[last:]


def _value_replaced(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A value of JSON, YAML or CSV becomes another."""
    found = list(_VALUE.finditer(data))
    if not found:
        return data + rng.choice(_VALUES)
    first, last = rng.choice(found).span(1)
    return data[:first] + rng.choice(_VALUES) + data[last:]


def _before(data: bytes, place: int) -> bool:
    return data[place - 1 : place].isalnum()


def _place(rng: random.Random, data: bytes) -> int:
    """Anywhere, and in the head, where the structure is, more often than in the rest."""
    return rng.randrange(len(data) if rng.random() < 0.5 else min(len(data), 300))


_ANY = {
    "truncated": _truncated,
    "flipped": _flipped,
    "overwritten": _overwritten,
    "foreign": _foreign,
    "spliced": _spliced,
    "zeroed": _zeroed,
    "inserted": _inserted,
    "removed": _removed,
    "repeated": _repeated,
}
_OF_TEXT = {
    "line doubled": _line_doubled,
    "line removed": _line_removed,
    "word replaced": _word_replaced,
    "value replaced": _value_replaced,
    "value replaced twice": lambda rng, data, other: _value_replaced(
        rng, _value_replaced(rng, data, other), other
    ),
}
