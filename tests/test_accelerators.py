"""A run on the CPU beside an accelerator, or beside a plugin for one, says so."""

import importlib.metadata
import os
import re

import jax
import pytest

import fedcode_jax
from fedcode_jax import accelerators
from fedcode_jax.config import ExperimentConfig

LEFT_BEHIND = {"jaxlib": "0.10.2", "jax-cuda12-plugin": "0.9.0"}


@pytest.fixture
def machine(monkeypatch):
    """Makes this a machine with the given packages, files of devices, backend and platforms."""

    def make(packages, files=(), backend="cpu", platforms=None):
        def version(name):
            if name in packages:
                return packages[name]
            raise importlib.metadata.PackageNotFoundError(name)

        exists = os.path.exists
        known = accelerators._DEVICES
        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(os.path, "exists", lambda p: p in files if p in known else exists(p))
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        monkeypatch.setattr(type(jax.config), "jax_platforms", platforms, raising=False)

    accelerators.tell_unused.cache_clear()
    yield make
    accelerators.tell_unused.cache_clear()


def test_a_plugin_left_behind_is_told_with_both_versions_and_both_ways_out(machine):
    machine(LEFT_BEHIND, ["/dev/nvidia0"])
    assert accelerators.unused() == (
        "runs on the CPU, although jax-cuda12-plugin 0.9.0 is installed beside jaxlib 0.10.2, "
        "which loads only its own version: pip install -U 'jax[cuda12]', or to keep the plugin "
        "pip install 'jax[cuda12]==0.9.0'"
    )


@pytest.mark.parametrize(
    ("packages", "files", "told"),
    [
        ({}, ["/dev/nvidia0"], "although an NVIDIA GPU is here: .* -U 'jax\\[cuda12\\]'"),
        ({}, ["/dev/kfd"], "although an AMD GPU is here: .* -U 'jax\\[rocm7-local\\]'"),
        ({}, ["/dev/accel0"], "although a TPU is here: .* -U 'jax\\[tpu\\]'"),
        ({"jax-cuda13-plugin": "0.10.2"}, [], "jax-cuda13-plugin 0.10.2 .* no device is seen"),
        ({"jax-cuda13-plugin": "0.10.2"}, ["/dev/nvidia0"], "update its driver, or .*cuda13"),
        ({"jax-cuda13-plugin": "0.9.0"}, [], "-U 'jax\\[cuda13\\]'"),
        # These have versions of their own.
        ({"libtpu": "0.0.42.1"}, [], "libtpu 0.0.42.1 .* no device is seen"),
        ({"jax-rocm7-plugin": "0.10.1.post2"}, [], "no device is seen"),
    ],
)
def test_what_is_here_and_what_to_install(machine, packages, files, told):
    machine({"jaxlib": "0.10.2", **packages}, files)
    reason = accelerators.unused()
    assert "\n" not in reason
    assert "jaxlib 0.10.2" in reason
    assert re.search(told, reason)


@pytest.mark.parametrize(
    "here",
    [
        {"packages": {"jaxlib": "0.10.2"}},
        {"packages": LEFT_BEHIND, "platforms": "cpu"},
        {"packages": LEFT_BEHIND, "files": ["/dev/nvidia0"], "backend": "gpu"},
        {"packages": {"jaxlib": "0.10.2", "libtpu": "0.0.42"}, "backend": "tpu"},
    ],
)
def test_nothing_is_said_where_nothing_is_amiss(machine, here):
    machine(**here)
    assert accelerators.unused() is None


def test_a_run_says_it_once(machine, caplog):
    machine(dict.fromkeys(("jax", "flax", "optax", "numpy"), "1.0") | LEFT_BEHIND)
    for _ in range(2):
        fedcode_jax.build(ExperimentConfig())
    (record,) = caplog.records
    assert record.getMessage().startswith("fedcode: runs on the CPU, although jax-cuda12-plugin ")
    assert record.levelname == "WARNING"
