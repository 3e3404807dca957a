"""Compiled programs are kept where the user said, or in a folder of their own."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from fedcode_jax.experiment.cache import keep_compiled_programs

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def _untouched(monkeypatch, tmp_path):
    """JAX as a user starts it, with a home of its own; the suite's own cache comes back after."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_folder_is_under_the_users_caches(tmp_path):
    folder = keep_compiled_programs()
    assert folder.parent == tmp_path / "caches" / "fedcode_jax"
    assert folder.name.startswith("compiled-")
    assert folder.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert keep_compiled_programs() == folder  # and again the same


def test_without_that_variable_it_is_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keep_compiled_programs().parent == tmp_path / ".cache" / "fedcode_jax"


def test_other_instructions_have_another_folder(monkeypatch):
    here = keep_compiled_programs()
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(
        pathlib.Path, "read_text", lambda self, *a, **k: "processor: 0\nflags : avx2\n"
    )
    assert keep_compiled_programs() != here


def test_a_folder_that_the_user_chose_is_left_alone(tmp_path):
    chosen = tmp_path / "chosen"
    jax.config.update("jax_compilation_cache_dir", str(chosen))
    assert keep_compiled_programs() == chosen
    assert jax.config.jax_compilation_cache_dir == str(chosen)
    assert not (tmp_path / "caches").exists()


def test_switched_off_it_stays_off(tmp_path):
    jax.config.update("jax_enable_compilation_cache", False)
    assert keep_compiled_programs() is None
    assert jax.config.jax_compilation_cache_dir is None
    assert not (tmp_path / "caches").exists()


def test_without_a_place_to_write_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "caches").write_text("a file, where a folder would be")
    assert keep_compiled_programs() is None
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", homeless)
    assert keep_compiled_programs() is None
    assert jax.config.jax_compilation_cache_dir is None


# A program that takes longer than a tenth of a second to compile: shorter ones are not kept.
SCRIPT = """
import json
import sys
import jax
import jax.numpy as jnp
import numpy as np
from fedcode_jax.experiment.cache import keep_compiled_programs

seen = []
jax.monitoring.register_event_listener(lambda name, **_: seen.append(name.rsplit("/", 1)[-1]))
folder = keep_compiled_programs()

@jax.jit
def program(x):
    for i in range(12):
        x = jnp.sort(jnp.sin(x[::-1] + i)).cumsum()
    return x

program(np.ones(100, np.float32)).block_until_ready()
counts = {name: seen.count(name) for name in ("cache_hits", "cache_misses")}
print(json.dumps({"folder": str(folder), **counts}))
"""


def process(**variables):
    # Without the suite's flags too: what compiles in less than 0.1 s is not kept.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_second_process_compiles_nothing_and_the_environment_decides(tmp_path):
    home = {"XDG_CACHE_HOME": str(tmp_path / "home")}
    first, second = process(**home), process(**home)
    assert first["folder"].startswith(home["XDG_CACHE_HOME"])
    assert (first["cache_hits"], first["cache_misses"]) == (0, 1)
    assert (second["cache_hits"], second["cache_misses"]) == (1, 0)

    elsewhere = process(**home, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "elsewhere"))
    assert elsewhere["folder"] == str(tmp_path / "elsewhere")
    off = process(**home, JAX_ENABLE_COMPILATION_CACHE="0")
    assert (off["folder"], off["cache_hits"], off["cache_misses"]) == ("None", 0, 0)
