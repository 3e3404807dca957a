"""Digests of objects: equal for the same one in every process, unlike for others."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import parts_of_mine as mine
import pytest
from flax import nnx

from fedcode_jax import compress
from fedcode_jax.algorithms import fedcode, updates
from fedcode_jax.experiment.digest import described, digest

SCALE = 2.0
TABLE = [1.0, 2.0]


def scaled(x):
    return SCALE * x


def tabled(x):
    return [TABLE[i] * x for i in range(2)]


def calls_another(x):
    return scaled(x)


class Slotted:
    __slots__ = ("rate",)

    def __init__(self, rate):
        self.rate = rate


def a_class(rate):
    return type("Same", (), {"rate": rate, "doubled": staticmethod(lambda: 2 * rate)})


def active(function):
    rngs = nnx.Rngs(0)
    return nnx.Sequential(nnx.Linear(2, 3, rngs=rngs), function, nnx.Linear(3, 2, rngs=rngs))


def made():
    """Pairs of unlike objects of a kind, made anew with every call."""
    table = np.arange(4.0)
    return {
        "linen": (mine.Tiny(3), mine.Tiny(3, 9)),
        "sequential": (nn.Sequential([nn.Dense(3)]), nn.Sequential([nn.Dense(4)])),
        "nnx": (mine.TinyNnx(3, (6,), rngs=nnx.Rngs(0)), mine.TinyNnx(3, (6,), rngs=nnx.Rngs(1))),
        "partial": (functools.partial(mine.focal, gamma=1.0), functools.partial(mine.focal)),
        "algorithm": (mine.proximal(0.1), mine.proximal(0.2)),
        "compressor": (updates(compress.topk(0.1)), updates(compress.topk(0.2))),
        "fedcode": (fedcode(8), fedcode(16)),
        "server": (updates(server=optax.adam(0.1)), updates(server=optax.adam(0.2))),
        "optimizer": (optax.adam(1e-3), optax.sgd(1e-3)),
        "closure": (lambda x: x * table, lambda x: x * (table + 1)),
        "constants": (lambda x: x + 1, lambda x: x + 2),
        "defaults": (lambda x, y=1: x + y, lambda x, y=2: x + y),
        "arrays": (jnp.arange(3), jnp.arange(3.0)),
        "mapping": ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        "schedule": (mine.every_third(3), mine.slow(3)),
        "global": (scaled, mine.focal),
        "activation": (active(nnx.relu), active(nnx.tanh)),
        "rate": (nnx.Dropout(0.1, rngs=nnx.Rngs(0)), nnx.Dropout(0.2, rngs=nnx.Rngs(0))),
        "slots": (Slotted(1), Slotted(2)),
        "class": (a_class(1), a_class(2)),
        "objects": (np.array([1, "a"], object), np.array([1, "b"], object)),
    }


@pytest.mark.parametrize("kind", list(made()))
def test_the_same_object_made_again_has_the_same_digest_and_another_has_another(kind):
    one, other = made()[kind]
    assert digest(one) == digest(made()[kind][0])
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [(scaled, "SCALE", 3.0), (calls_another, "SCALE", 3.0), (tabled, "TABLE", [1.0, 3.0])],
)
def test_what_a_function_reads_counts(function, name, value, monkeypatch):
    before = digest(function)
    monkeypatch.setitem(globals(), name, value)
    assert digest(function) != before


def test_what_is_shared_is_looked_at_once():
    shared = [1.0]
    for _ in range(200):
        shared = [shared, shared]
    assert digest(shared) == digest(shared)


def test_digests_are_those_of_another_process():
    code = (
        "import test_digest as t; print(*[t.digest(a) + t.digest(b) for a, b in t.made().values()])"
    )
    paths = [str(Path(__file__).parent), str(Path(mine.__file__).parent), *sys.path]
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]


def test_what_objects_are_called():
    assert described(mine.Tiny(3)) == "Tiny"
    assert described(functools.partial(mine.TinyNnx, 3)) == "TinyNnx"
    assert described(mine.proximal()) == "updates"
    assert described(optax.adam(0.1)) == "chain"
    assert described(lambda x: x) == "function"
