"""Machines that are not here: their names, and what is told of one that cannot be had."""

import importlib.util
import os

import pytest

from fedcode_jax.bench import machines
from fedcode_jax.bench.machines import machine, names
from fedcode_jax.cli import main
from fedcode_jax.errors import ConfigError

GPUS = [name for name in names() if (machines._GPUS / f"{name}.txtpb").is_file()]


@pytest.mark.parametrize("name", GPUS)
def test_descriptions_of_gpus_say_what_is_needed(name):
    text = (machines._GPUS / f"{name}.txtpb").read_text()
    needed = ("device_memory_size", "memory_bandwidth", "cuda_compute_capability", "core_count")
    for field in (*needed, "device_description_str", "dnn_version_info", "runtime_version"):
        assert text.count(field) == 1
    assert text.count("{") == text.count("}")


def test_names_are_those_of_gpus_and_tpus():
    assert {"a100", "h100", "h200"} <= set(GPUS)
    assert {"v4", "v5e", "v5p", "v6e"} <= set(names()) - set(GPUS)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("h10", "unknown name 'h10'. Did you mean 'h100'?"),
        ("no/such.txtpb", "there is no such file"),
        ("h100:4", "several GPUs are --target h100 --execution.devices 4"),
    ],
)
def test_mistakes_are_told_with_the_way_out(target, message, capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    with pytest.raises(ConfigError, match=r"^target: ") as error:
        machine(target)
    assert message in str(error.value)
    assert main(["bench", "--target", target]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


@pytest.mark.parametrize(("target", "extra"), [("h100", "gpu"), ("v5e", "tpu"), ("v5e:2x2", "tpu")])
def test_a_missing_package_is_named(target, extra, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"pip install 'fedcode_jax\[{extra}\]'$"):
        machine(target)


def test_a_file_that_describes_no_gpu(tmp_path):
    file = tmp_path / "card.txtpb"
    file.write_text("nothing of use")
    with pytest.raises(
        ConfigError, match=r"has no device_memory_size; give a GpuTargetConfigProto"
    ):
        machine(str(file))
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        machine(str(file))


GPU, TPU = (
    pytest.mark.skipif(
        not any(importlib.util.find_spec(name) for name in machines._EXTRAS[kind][1:])
        or os.environ.get("JAX_PLATFORMS") != "cpu",
        reason=f"needs fedcode_jax[{kind}], and JAX_PLATFORMS=cpu",
    )
    for kind in ("gpu", "tpu")
)


@GPU
@pytest.mark.parametrize("name", GPUS)
def test_gpus_have_three_quarters_of_their_memory_for_arrays(name):
    one, four = machine(name), machine(name, 4)
    assert (one.target, one.platform, len(one.devices), len(four.devices)) == ("gpu", "cuda", 1, 4)
    assert "NVIDIA" in one.name
    assert 60e9 < one.memory < 150e9


@GPU
def test_a_gpu_by_a_file_of_ones_own(tmp_path):
    file = tmp_path / "card.txtpb"
    text = (machines._GPUS / "a100.txtpb").read_text()
    file.write_text(text.replace("85100068864", "40000000000").replace("80GB", "40GB"))
    card = machine(str(file))
    assert card.memory == 30_000_000_000
    assert card.name.startswith("NVIDIA A100-SXM4-40GB")
    file.write_text(text.replace("core_count", "number_of_cores"))
    with pytest.raises(ConfigError, match=r"XLA says: .*GpuTargetConfigProto"):
        machine(str(file))


@TPU
def test_tpus_by_generation_or_topology():
    assert len(machine("v5e").devices) == 1
    assert len(machine("v5e", 4).devices) == 4
    assert len(machine("v5e:2x2").devices) == 4
    assert len(machine("v5e:4x4", 9).devices) == 9
    assert machine("v5e").memory == int(15.75 * 2**30)
    with pytest.raises(ConfigError, match=r"execution\.devices: 5 .*v5e:2x2 has 4"):
        machine("v5e", 5)
    with pytest.raises(ConfigError, match=r"target: 'v5e:3x1' cannot be used; XLA says"):
        machine("v5e:3x1")
    with pytest.raises(ConfigError, match=r"target: 'v99:2x2' cannot be used; XLA says"):
        machine("v99:2x2")
