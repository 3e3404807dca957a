"""Devices that were asked for and are not here."""

import os
import subprocess
import sys

import jax
import pytest

import fedcode_jax
from fedcode_jax import bench
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError

COMMAND = "import sys; from fedcode_jax import cli; sys.exit(cli.main())"


@pytest.mark.parametrize("name", ["cuda", "nonsense"])
def test_a_platform_that_is_not_here_is_told_in_a_line(name, tmp_path):
    if name == "cuda" and jax.default_backend() == "gpu":
        pytest.skip("it is here")
    options = ["--out", str(tmp_path / "run"), "--model.name", "mlp"]
    told = subprocess.run(
        [sys.executable, "-c", COMMAND, "run", *options],
        env={**os.environ, "JAX_PLATFORMS": name},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 2
    assert told.stderr.startswith(f"fedcode: error: JAX_PLATFORMS: {name!r} cannot be used; ")
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("doing", ["run", "build", "sweep", "measure"])
def test_so_it_is_by_every_door(doing, monkeypatch):
    def fail():
        raise AssertionError  # as JAX without CUDA does

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setattr(type(jax.config), "jax_platforms", "cuda", raising=False)
    config = ExperimentConfig()
    doors = {
        "run": lambda: fedcode_jax.run(config),
        "build": lambda: fedcode_jax.build(config),
        "sweep": lambda: fedcode_jax.sweep(config, {"seed": [0]}),
        "measure": lambda: bench.measure(config),
    }
    with pytest.raises(ConfigError, match=r"^JAX_PLATFORMS: 'cuda' cannot be used; "):
        doors[doing]()
