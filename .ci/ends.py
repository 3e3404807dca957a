#!/usr/bin/env python3
"""The quick suite on the oldest, or the newest, JAX that pyproject.toml allows.

    python .ci/ends.py oldest --python python3.11
    python .ci/ends.py newest --python python3.13 [tests/data -x ...]

Makes a virtual environment of its own for it and removes it. On the oldest end JAX and what goes
with it (`FAMILY`) have exactly the versions of their lower bounds; all else is the newest, as pip
chooses it. What follows is handed to pytest in place of ``-n 2``.
"""

import argparse
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
FAMILY = ("jax", "flax", "optax", "chex")


def pins(pyproject: Path = HOME / "pyproject.toml") -> list[str]:
    """JAX and its family at their lower bounds, as pip's constraints.

    Raises:
      ValueError: one of them has no lower bound.
    """
    needed = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    bounds = dict(re.fullmatch(r"([\w-]+)>=([\w.]+)", each).groups() for each in needed)
    missing = set(FAMILY) - set(bounds)
    if missing:
        raise ValueError(f"{pyproject}: no lower bound of {', '.join(sorted(missing))}")
    # jaxlib, which jax alone depends on, may be older than jax.
    return [f"{name}=={bounds[name]}" for name in FAMILY] + [f"jaxlib=={bounds['jax']}"]


def run(*command: str | Path) -> None:
    """Shows a command and runs it."""
    print("+", *command, flush=True)
    subprocess.run(command, cwd=HOME, check=True)


def main() -> int:
    """Makes the environment and runs the suite in it; pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("end", choices=("oldest", "newest"))
    parser.add_argument("--python", default="python3", metavar="PATH", help="the interpreter")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "venv", "bin", "python")
        run(options.python, "-m", "venv", python.parents[1])
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(pins() if options.end == "oldest" else []) + "\n")
        run(python, "-m", "pip", "install", "-q", "-c", constraints, "-e", ".[dev]")
        run(python, "-VV")
        run(python, "-m", "pip", "freeze")
        quick = [python, "-m", "pytest", "-q", "-m", "not slow", *(arguments or ["-n", "2"])]
        print("+", *quick, flush=True)
        return subprocess.run(quick, cwd=HOME, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
