"""Bits a weight, formula against real bytes: fixed, entropy-coded, adaptive and conditional codes.

    python benchmarks/coding.py [--quick]

First the codes of trained networks (see trained.py), under k-means codebooks and under
entropy-constrained ones of equal squared error. Then the codes that FedCode sends in the weights
rounds of two real runs, each given what both sides hold from the last one. Every figure is the
length of encoded bytes, centers, tables and headers included; entropies are empirical, without
them. Writes raw figures to benchmarks/results/coding.json.
"""

import argparse
import dataclasses

import jax
import numpy as np
import trained
from recording import write
from sklearn.datasets import load_digits

from fedcode_jax import codebook, experiment, wire
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.wire import Coded, Kind, Message

RATE_WEIGHTS = 2.0 ** np.arange(-18, 0, 1 / 16)


def entropy(*symbols):
    """Empirical joint entropy, in bits, of all symbols together."""
    joint = np.zeros(symbols[0].size, np.int64)
    for column in symbols:
        joint = joint * (int(column.max()) + 1) + column
    counts = np.unique(joint, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def by_layer(codes, layers):
    return sum(entropy(part) for part in np.split(codes, np.cumsum(layers)[:-1]))


def length(section, coding, given=None):
    """Bits of a weights message with this section alone."""
    as_coded = dataclasses.replace(section, coding=coding)
    given = None if given is None else Message(np.int32(Kind.WEIGHTS), (given,))
    message = Message(np.int32(Kind.WEIGHTS), (as_coded,))
    data = wire.encode(message, given=given)
    assert np.array_equal(wire.decode(data, given=given).sections[0].codes, section.codes)
    return 8 * len(data)


def squared_error(values, section):
    decoded = np.asarray(section.centers, np.float64)[section.codes]
    return float(np.mean((values.astype(np.float64) - decoded) ** 2))


def priced(values, layers, error):
    """An entropy-constrained section whose error is the highest that does not exceed ``error``."""

    @jax.jit
    def coded(values, weight):
        centers, limits = codebook.fit_rate(values, 4096, weight)
        return centers, codebook.encode(centers, values, limits=limits)

    low, high, best = 0, len(RATE_WEIGHTS) - 1, None
    while low <= high:
        middle = (low + high) // 2
        section = Coded(*map(np.asarray, coded(values, RATE_WEIGHTS[middle])), layers=layers)
        if squared_error(values, section) <= error:
            low, best = middle + 1, section
        else:
            high = middle - 1
    return best


def of_network(name, clusters):
    """One row for each K: what the codes of a trained network take."""
    made = trained.weights(name)
    values = made["kernels"]
    layers = tuple(size for _, size in made["layers"])
    for K in clusters:
        centers = codebook.fit(values, K)
        codes = np.asarray(codebook.encode(centers, values))
        section = Coded(np.asarray(centers), codes, layers=layers)
        error = squared_error(values, section)
        cheap = priced(values, layers, error)
        plain = Message(np.int32(Kind.WEIGHTS), (section,))
        yield {
            "network": name,
            "K": K,
            "weights": values.size,
            "formula": int(wire.formula_bits(plain)),
            "fixed": length(section, "fixed"),
            "entropy of codes": entropy(codes),
            "entropy": length(section, "entropy"),
            "entropy by layer": by_layer(codes, layers),
            "adaptive": length(section, "adaptive"),
            "squared error": error,
            "priced, adaptive": length(cheap, "adaptive"),
            "priced squared error": squared_error(values, cheap),
            "priced centers in use": len(np.unique(cheap.codes)),
        }


def of_run(name, changes, rounds):
    """One row for each weights round and direction of a FedCode run."""
    changes = {**changes, "algorithm.coding": "conditional"}
    built = experiment.build(replace(ExperimentConfig(), changes))
    state = built.program.start(built.weights)
    for t in range(1, rounds + 1):
        state, output = built.program.advance(state, 1, traffic=True)
        traffic = jax.tree.map(lambda leaf: np.asarray(leaf[0]), output.traffic)
        ways = {
            "down": (traffic.broadcast, traffic.broadcast_given),
            "up": (traffic.uploads, traffic.uploads_given),
        }
        for way, (message, given) in ways.items():
            if message.kind[0] != Kind.WEIGHTS or given.kind[0] != Kind.WEIGHTS:
                continue
            # The first client stands for all.
            known = jax.tree.map(lambda leaf: leaf[0], given.sections[0])
            section = message.sections[0]
            if way == "up":
                section = jax.tree.map(lambda leaf: leaf[0], section)
            expected = codebook.encode(section.centers, known.centers)
            context = np.asarray(expected)[known.codes]
            yield {
                "run": name,
                "round": t,
                "way": way,
                "weights": section.codes.size,
                "fixed": length(section, "fixed"),
                "entropy of codes": entropy(section.codes),
                "entropy": length(section, "entropy"),
                "adaptive": length(section, "adaptive"),
                "entropy given known": entropy(context, section.codes) - entropy(context),
                "conditional": length(section, "conditional", known),
            }


def runs(quick):
    """The runs: name, changes to the default config, rounds."""
    yield "cnn", {}, 6 if quick else 20
    if not quick:
        images, labels = load_digits(return_X_y=True)
        images = np.kron(images.reshape(-1, 8, 8), np.full((1, 4, 4), 15.9)).astype(np.uint8)
        images = np.repeat(images[..., None], 3, axis=3)
        path = trained.CACHE / "digits-32x32x3.npz"
        parts = {"train": slice(0, 1440), "test": slice(1440, None)}
        arrays = {f"{k}_x": images[s] for k, s in parts.items()}
        np.savez(path, **arrays, **{f"{k}_y": labels[s] for k, s in parts.items()})
        resnet = {
            "data.name": "npz",
            "data.path": (str(path),),
            "model.name": "resnet20",
            "partition.num_clients": 4,
            "local.epochs": 1,
        }
        yield "resnet20", resnet, 10


def table(rows, columns):
    """Prints rows, lengths as bits a weight."""
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for row in rows:
        cells = []
        for column in columns:
            value = row[column]
            is_length = column not in ("network", "run", "K", "round", "way", "weights")
            if "squared error" in column:
                cells.append(f"{value:.3g}")
            elif is_length and "centers" not in column:
                cells.append(f"{value / row['weights']:.3f}")
            else:
                cells.append(f"{value:,}" if isinstance(value, int) else str(value))
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run: less of everything")
    quick = parser.parse_args().quick
    networks = {"resnet20": (64,)} if quick else dict.fromkeys(trained.STEPS, (16, 64, 256))
    codes = [row for name, clusters in networks.items() for row in of_network(name, clusters)]
    table(codes, list(codes[0]))
    sent = [row for run in runs(quick) for row in of_run(*run)]
    print()
    table(sent, list(sent[0]))
    savings = {}
    for name in dict.fromkeys(row["run"] for row in sent):
        mine = [row for row in sent if row["run"] == name]
        ratios = [row["conditional"] / row["entropy"] for row in mine]
        savings[name] = float(np.mean(ratios))
        print(
            f"{name}: conditional messages have {100 * np.mean(ratios):.0f} % of the bytes of "
            f"entropy-coded ones (from {100 * min(ratios):.0f} to {100 * max(ratios):.0f})"
        )
    if not quick:
        what = "bits of whole messages, and entropies in bits, of all weights together"
        result = {"what": what, "codes": codes, "sent": sent, "conditional_to_entropy": savings}
        print(f"written to {write('coding', result)}")


if __name__ == "__main__":
    main()
