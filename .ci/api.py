#!/usr/bin/env python3
"""The API as pages, from the docstrings: ``python .ci/api.py FOLDER``. Warnings are errors."""

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render

import fedcode_jax


def main(folder: str) -> None:
    """Writes a page for each room, and an index, into a folder."""
    warnings.simplefilter("error")
    # A field of a NamedTuple that is of the same kind: pdoc does not find its name.
    warnings.filterwarnings("ignore", ".* for fedcode_jax.compress.Compressor.__init__")
    for name in fedcode_jax.__all__:  # loaded when used, and pdoc looks at what is loaded
        getattr(fedcode_jax, name)
    pdoc.render.configure(docformat="google", math=True)
    rooms = [f"fedcode_jax.{room.name}" for room in pkgutil.iter_modules(fedcode_jax.__path__)]
    pdoc.pdoc("fedcode_jax", *rooms, output_directory=Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
