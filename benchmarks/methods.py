"""The page of all methods: their cards, and what their messages take on the default experiment.

    python benchmarks/methods.py [--names fedpaq stc ...]

Every method runs at its defaults for a few rounds (digits, 10 clients, the CNN of 6,090 weights).
Measured are the bits of the encoded messages over clients and weights, the longest of the rounds
after the first, in which clients are sent the model whole. Writes benchmarks/results/methods.json
as it goes, and then fedcode_jax/algorithms/METHODS.md from it; names that are given are measured
anew, else those that are missing.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
from recording import RESULTS, write

import fedcode_jax
from fedcode_jax import ExperimentConfig
from fedcode_jax.config import AlgorithmConfig, replace
from fedcode_jax.config.methods import row

PAGE = Path(fedcode_jax.__file__).parent / "algorithms" / "METHODS.md"
ROUNDS = 6
EXTRA: dict[str, dict[str, Any]] = {
    "fedbn": {"model.norm": "batch"},
    "scaffold": {"local.optimizer": "sgd"},
}
HEAD = """# Methods

What `--algorithm.name` knows, each at its defaults, which are its paper's. K centers, n values of a
vector (of all that is trained, or of a kernel), a share f of them; formulas are in bits a value of
what is compressed, before headers. Measured are the bits of encoded messages over all weights, on
digits with the CNN of 6,090 weights, where headers, tables and what goes as floats count. None
needs all clients in every round; unbiased says whether the mean of the uploads is that of the
clients' changes.

`python benchmarks/methods.py` makes this page.

"""


def measured(name: str) -> dict[str, float]:
    """Bits a weight of the longest message each way, after the first round."""
    config = replace(ExperimentConfig(), {"algorithm.name": name, **EXTRA.get(name, {})})
    result = fedcode_jax.run(replace(config, {"rounds": ROUNDS, "eval_every": ROUNDS}))
    jax.clear_caches()
    clients = config.partition.num_clients
    count = fedcode_jax.models.count_parameters(result.weights)
    return {
        way: 8 * max(record[f"{way}link_bytes"] for record in result.records[1:]) / clients / count
        for way in ("up", "down")
    }


def page(figures: dict[str, dict[str, float]]) -> str:
    """The page; methods without figures have none."""
    columns = [*row("fedavg")]
    place = columns.index("unbiased")
    shown = [*columns[:place], "measured up", "measured down", *columns[place:]]
    lines = ["| " + " | ".join(shown) + " |", "| --- " * len(shown) + "|"]
    for name in AlgorithmConfig.members:
        cells, found = row(name), figures.get(name)
        for way in ("up", "down"):
            cells[f"measured {way}"] = f"{found[way]:.3g}" if found else ""
        lines.append("| " + " | ".join(cells[column] for column in shown) + " |")
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--names", nargs="+", choices=[*AlgorithmConfig.members], default=[])
    asked = parser.parse_args()
    path = RESULTS / "methods.json"
    figures = json.loads(path.read_text())["bits_a_weight"] if path.exists() else {}
    for name in asked.names or [n for n in AlgorithmConfig.members if n not in figures]:
        figures[name] = measured(name)
        print(name, figures[name], flush=True)
        write("methods", {"rounds": ROUNDS, "bits_a_weight": figures})
    PAGE.write_text(page(figures))
    print(f"written to {PAGE.name}")


if __name__ == "__main__":
    main()
