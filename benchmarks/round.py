"""Writes what ``fedcode bench`` measures, a round and its parts, to benchmarks/results/.

    python benchmarks/round.py [--repeats 5] [any option of fedcode run]

Prints the table of ``fedcode bench``.
"""

import sys

import jax
from recording import write
from rich.console import Console

from fedcode_jax.bench import measure, speed_table
from fedcode_jax.cli.bench import parse_bench


def main() -> None:
    options = parse_bench("python benchmarks/round.py", sys.argv[1:])
    config = options.experiment
    record = measure(config, options.repeats)
    Console(width=None if sys.stdout.isatty() else 200).print(speed_table(record))
    name = f"round-{config.algorithm.name}-{config.model.name}-{jax.default_backend()}"
    print(f"written to {write(name, record)}")


if __name__ == "__main__":
    main()
