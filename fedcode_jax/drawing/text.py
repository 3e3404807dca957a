"""Texts of users' own in pictures: what the font lacks, and what is too long."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from fedcode_jax.drawing.style import drawable

_CUT = "…"


def flat(text: str) -> str:
    r"""A text in one line, without what a terminal or a table would take for an order.

    Example:
      >>> flat("a\tb\x1b")
      'a b'
    """
    kept = (" " if c.isspace() else c for c in text if c.isspace() or _is_shown(c))
    return " ".join("".join(kept).split())


def _is_shown(character: str) -> bool:
    return unicodedata.category(character)[0] != "C"


def readable(text: str) -> str:
    """A text as a picture can show it.

    Args:
      text: any text.

    Returns:
      One line, with a "?" for each character that the font lacks.

    Example:
      >>> readable("猫 cat")
      '? cat'
    """
    return "".join(c if ord(c) in drawable() else "?" for c in flat(text))


def shortened(texts: Sequence[str], most: int = 60) -> list[str]:
    """Texts that a picture has room for, told apart as before.

    Args:
      texts: any texts.
      most: characters that one may have.

    Returns:
      Each as of ``readable``; of a longer one the beginning and the end. Different texts that
      would be the same are numbered.

    Example:
      >>> shortened(["stc", "fedavg up.num_clusters=3"], most=12)
      ['stc', 'fedavg u…s=3']
      >>> shortened(["猫", "狗", "猫"])
      ['? (1)', '? (2)', '? (1)']
    """
    cut = {text: _cut(readable(text), most) for text in texts}
    times = Counter(cut.values())
    taken = {short for short, count in times.items() if count == 1}
    shown = {}
    for text, short in cut.items():
        name, number = short, 0
        while times[short] > 1 and (number == 0 or name in taken):
            number += 1
            name = f"{short} ({number})".lstrip()
        taken.add(name)
        shown[text] = name
    return [shown[text] for text in texts]


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 4
    return text[: most - end - 1].rstrip() + _CUT + text[len(text) - end :].lstrip()
