"""Methods by the names of their papers: what they stand for, and that all of it can be set."""

import dataclasses

import pytest

import fedcode_jax
from fedcode_jax import config as configs
from fedcode_jax.config import (
    AlgorithmConfig,
    ExperimentConfig,
    from_dict,
    from_yaml,
    replace,
    to_dict,
    to_yaml,
)
from fedcode_jax.config.presets import Preset, composition
from fedcode_jax.errors import ConfigError

PRESETS = [name for name, kind in AlgorithmConfig.members.items() if issubclass(kind, Preset)]
QUICK = {
    "rounds": 2,
    "model.name": "mlp",
    "data.name": "synthetic",
    "data.shape": (6,),
    "data.num_classes": 3,
    "data.train_size": 120,
    "data.test_size": 40,
    "partition.num_clients": 3,
    "local.epochs": 1,
}
IMAGES = {"model.name": "cnn", "data.shape": (8, 8, 1)}


def of(name, **changes):
    settings = {f"algorithm.{key.replace('__', '.')}": value for key, value in changes.items()}
    return replace(ExperimentConfig(), {"algorithm.name": name, **settings})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_fedavg_with_its_parts(name):
    """The same parts set by hand give the same config but for its name, and the same run."""
    quick = QUICK | ({"model.norm": "batch", **IMAGES} if name == "fedbn" else {})
    preset = of(name).algorithm
    parts = {field.name: getattr(preset, field.name) for field in dataclasses.fields(preset)}
    by_hand = configs.algorithms.FedAvg(**{**parts, "name": "fedavg"})
    runs = [
        fedcode_jax.run(replace(ExperimentConfig(algorithm=algorithm), quick))
        for algorithm in (preset, by_hand)
    ]
    counted = ("train_loss", "test_loss", "deployed_loss", "uplink_bytes", "downlink_bytes")
    first, second = ([[r[key] for key in counted] for r in run.records] for run in runs)
    assert first == second
    assert runs[0].summary["status"] == "completed"
    assert composition(preset).startswith(f"{name}: fedavg, ")
    assert composition(by_hand) == composition(preset).replace(f"{name}: fedavg, ", "fedavg: ")


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_preset_sets_round_trips_and_comes_back_from_its_name_alone(name):
    config = of(name)
    assert from_dict({"algorithm": {"name": name}}) == config
    assert from_dict(to_dict(config)) == config
    assert from_yaml(to_yaml(config)) == config
    assert from_yaml(f"algorithm:\n  name: {name}\n") == config


def test_a_setting_of_a_part_leaves_the_rest_of_the_part_as_the_preset_has_it():
    for config in (
        of("fedpaq", up__bits=2),
        from_dict({"algorithm": {"name": "fedpaq", "up": {"bits": 2}}}),
        from_yaml("algorithm: {name: fedpaq, up: {bits: 2}}"),
    ):
        assert (config.algorithm.up.name, config.algorithm.up.bits) == ("qsgd", 2)
        assert config.algorithm.up.bucket == 128
    assert of("fedavgm", server__learning_rate=0.5).algorithm.server == (
        configs.server_steps.Sgd(learning_rate=0.5, momentum=0.9)
    )
    part = of("fedavgm", server__name="adam").algorithm.server
    assert part == configs.server_steps.Adam()


def test_another_part_has_the_defaults_of_its_own():
    config = of("stc", up__name="topk", down__name="none")
    assert (config.algorithm.up.name, config.algorithm.down.name) == ("topk", "none")
    assert config.algorithm.up.fraction == configs.UpConfig.members["topk"]().fraction


def test_settings_that_a_preset_lacks_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"^algorithm\.up\.num_clusters: "):
        of("fedpaq", up__num_clusters=3)
    with pytest.raises(ConfigError, match=r"^algorithm\.up\.num_clusters: "):
        from_dict({"algorithm": {"name": "fedpaq", "up": {"num_clusters": 3}}})


def test_groups_are_checked_as_those_of_fedavg():
    for name in PRESETS:
        with pytest.raises(ConfigError, match=r"^algorithm\.groups: .*'kernelz'"):
            of(name, groups="kernelz")


def test_scaffold_needs_plain_sgd():
    sgd = {"algorithm.name": "scaffold", "local.optimizer": "sgd", "local.learning_rate": 0.05}
    assert replace(ExperimentConfig(), sgd).algorithm.name == "scaffold"
    for changes in ({"local.optimizer": "adam"}, {"local.optimizer_args": {"momentum": 0.9}}):
        with pytest.raises(ConfigError, match=r"^local\.optimizer: .*scaffold.*plain SGD"):
            replace(ExperimentConfig(), {**sgd, **changes})
