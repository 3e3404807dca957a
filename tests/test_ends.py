"""What is said to be supported is what the quick suite is run on."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def ends():
    spec = importlib.util.spec_from_file_location("ends", HOME / ".ci" / "ends.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_oldest_end_is_at_the_lower_bounds(ends):
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    pins = ends.pins()
    assert len(pins) == len(ends.FAMILY) + 1
    for pin in pins:
        name, version = pin.split("==")
        assert f"{name.replace('jaxlib', 'jax')}>={version}" in project["dependencies"]


def test_readme_names_the_same_bounds(ends):
    text = " ".join((HOME / "README.md").read_text(encoding="utf-8").split())
    (said,) = re.findall(r"It is made for (.*?) or newer\)", text)
    for pin in ends.pins():
        name, version = pin.split("==")
        if name != "jaxlib":
            assert f"{name} {version}" in said.replace("JAX", "jax")
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    versions = [c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c]
    assert versions[0] == oldest
    assert f"Python {oldest} to {versions[-1]}" in said


def test_a_bound_that_is_missing_is_told(ends, tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\ndependencies = ["jax>=0.7.2"]\n')
    with pytest.raises(ValueError, match="no lower bound of chex, flax, optax"):
        ends.pins(file)
