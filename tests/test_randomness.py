"""Results follow from the config alone, whatever JAX was set to."""

import ast
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import fedcode_jax
from fedcode_jax import randomness
from fedcode_jax.config import ExperimentConfig, replace

SCRIPT = pathlib.Path(__file__).with_name("under_settings.py")
SETTINGS = {
    "plain": {},
    "double": {"JAX_ENABLE_X64": "1"},
    "others": {
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    },
}


@pytest.fixture(scope="module")
def figures():
    """What runs come to under each of the settings, in processes of their own."""
    cache = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    started = {
        name: subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", **cache, **settings},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, settings in SETTINGS.items()
    }
    told = {name: process.communicate(timeout=300)[0] for name, process in started.items()}
    return {name: json.loads(text) for name, text in told.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETTINGS)[1:])
def test_settings_of_jax_change_nothing(figures, name):
    """Under each plan: other generators than threefry draw otherwise side by side."""
    assert figures[name] == figures["plain"]


@pytest.mark.slow
def test_every_seed_runs_and_counts(figures):
    losses = figures["plain"]["swept"]
    assert len(set(losses)) == len(losses) == 4


def test_the_largest_seeds_have_keys_of_their_own():
    seeds = (0, 2**31 - 1, 2**31, 2**32 - 1)
    data = [jax.random.key_data(randomness.key(np.uint32(seed))).tolist() for seed in seeds]
    assert data == [[0, seed] for seed in seeds]
    traced = jax.jit(randomness.key)(np.uint32(2**32 - 1))
    assert jax.random.key_data(traced).tolist() == data[-1]


def values():
    return {name: getattr(jax.config, name) for name in randomness._SETTINGS}


def test_a_users_settings_are_as_they_were_afterwards():
    config = replace(ExperimentConfig(), {"rounds": 1, "model.name": "mlp", "local.epochs": 1})
    unloadable = replace(config, {"data.name": "npz", "data.path": "nowhere.npz"})
    with (
        randomness.enable_x64(True),
        jax.default_prng_impl("rbg"),
        jax.threefry_partitionable(False),
    ):
        before = values()
        fedcode_jax.run(config)
        assert values() == before
        with pytest.raises(ValueError, match="nowhere"):
            fedcode_jax.run(unloadable)
        assert values() == before
        with randomness.standard():
            assert values() == {name: value for name, (_, value) in randomness._SETTINGS.items()}


def calls_for_keys(path):
    """Lines of a file that make a key by JAX itself; a docstring is no call."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute | ast.Name):
            name = ast.unparse(node)
            if name.endswith(("random.key", "random.PRNGKey", "PRNGKey")):
                yield f"{path.name}:{node.lineno}"


def test_keys_are_made_in_one_place():
    home = pathlib.Path(fedcode_jax.__file__).parent
    files = [path for path in home.rglob("*.py") if path != home / "randomness.py"]
    assert [line for path in files for line in calls_for_keys(path)] == []
    assert len(list(calls_for_keys(home / "randomness.py"))) == 1
