"""Writes what pages say in figures, from the raw files that the figures are of.

    python benchmarks/tables.py           # writes the blocks of all pages anew
    python benchmarks/tables.py --check   # says which differ from their raw files, and ends with 1

A block stands between ``<!-- figures NAME -->`` and ``<!-- end -->`` in a page, and is what the
function of that name in ``tables_*.py`` makes of files in benchmarks/results. Text with figures is
in a block as tables are, so that it changes with them.
"""

import argparse
import pathlib
import re
import sys
from collections.abc import Callable

import tables_codes
import tables_controls
import tables_machines
import tables_models
import tables_paper
import tables_rivals
import tables_schedules
import tables_speed
import tables_trust
import tables_updates
from tables_text import Raw

HOME = pathlib.Path(__file__).resolve().parents[1]
PAGES = ("README.md", "benchmarks/RESULTS.md", "fedcode_jax/bench/PERFORMANCE.md")
BLOCKS: dict[str, Callable[[Raw], str]] = {
    **tables_controls.BLOCKS,
    **tables_updates.BLOCKS,
    **tables_schedules.BLOCKS,
    **tables_codes.BLOCKS,
    **tables_paper.BLOCKS,
    **tables_rivals.BLOCKS,
    **tables_speed.BLOCKS,
    **tables_machines.BLOCKS,
    **tables_models.BLOCKS,
    **tables_trust.BLOCKS,
}
_BLOCK = re.compile(r"(<!-- figures ([\w-]+) -->\n)(.*?)(<!-- end -->)", flags=re.S)


def written(text: str, raw: Raw) -> str:
    """A page with its blocks as their raw files have them.

    Raises:
      ValueError: a block of an unknown name, or one that does not end.
    """
    begun, whole = text.count("<!-- figures "), len(_BLOCK.findall(text))
    if begun != whole:
        raise ValueError(f"{begun} blocks begin, and {whole} are whole")

    def block(found: re.Match[str]) -> str:
        first, name, _, last = found.groups()
        if name not in BLOCKS:
            raise ValueError(f"no block is called {name}; there are {', '.join(sorted(BLOCKS))}")
        return f"{first}{BLOCKS[name](raw).rstrip()}\n{last}"

    return _BLOCK.sub(block, text)


def names_in(text: str) -> list[str]:
    """The blocks of a page."""
    return [found[1] for found in _BLOCK.findall(text)]


def main(words: list[str] | None = None) -> int:
    """Writes or checks; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="writes nothing")
    options = parser.parse_args(words)
    raw, different = Raw(), 0
    for name in PAGES:
        page = HOME / name
        text = page.read_text(encoding="utf-8")
        new = written(text, raw)
        if new == text:
            continue
        different += 1
        print(f"{name}: differs from its raw files" if options.check else f"{name}: written")
        if not options.check:
            page.write_text(new, encoding="utf-8")
    return 1 if options.check and different else 0


if __name__ == "__main__":
    sys.exit(main())
