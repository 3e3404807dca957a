"""Config files that runs of an earlier version wrote, one flat section for all choices."""

from pathlib import Path

import pytest

from fedcode_jax.config import (
    ExperimentConfig,
    flattened,
    from_dict,
    from_yaml,
    load,
    recorded,
    replace,
    to_dict,
)
from fedcode_jax.config.files import read_yaml
from fedcode_jax.errors import ConfigError

FILES = Path(__file__).parent / "earlier"

# What had an effect in each of the files.
MEANT = {
    "fedcode": {},
    "fedavg": {
        "algorithm.name": "fedavg",
        "algorithm.up.name": "topk",
        "algorithm.up.fraction": 0.1,
        "algorithm.down.name": "codebook",
        "algorithm.down.num_clusters": 4,
        "model.name": "mlp",
    },
    "skip": {
        "algorithm.name": "skip",
        "algorithm.num_clusters": 16,
        "schedule.name": "paired",
        "model.name": "resnet20",
        "model.norm": "group",
        "partition.name": "dirichlet",
        "partition.alpha": 0.3,
    },
    "drift": {
        "schedule.name": "drift",
        "schedule.measure": "sketch",
        "schedule.threshold": 0.2,
        "algorithm.coding": "adaptive",
        "algorithm.rate_weight": 0.01,
        "data.name": "npz",
        "data.path": ["a.npz"],
        "partition.name": "by_user",
        "partition.min_size": 3,
        "model.name": "mobilenet_v2",
        "model.width": 0.5,
        "network.name": "table",
        "network.table": "clients.csv",
    },
}


@pytest.mark.parametrize("name", list(MEANT))
def test_a_file_of_before_means_what_it_meant(name):
    config = load(FILES / f"{name}.yaml")
    assert config == replace(ExperimentConfig(), MEANT[name])
    assert recorded(read_yaml(FILES / f"{name}.yaml")).values == flattened(to_dict(config))


def test_what_is_refused_now_says_so_in_a_line():
    """A schedule that the algorithm never looked at."""
    with pytest.raises(ConfigError, match=r"schedule\.name: 'budget' has no use with") as caught:
        load(FILES / "every.yaml")
    assert "\n" not in str(caught.value)
    settings = read_yaml(FILES / "every.yaml")
    config = from_dict({**settings, "schedule": None})
    assert config.algorithm.period == 3
    assert config.data.shape == (6,)


@pytest.mark.parametrize(
    "text",
    [
        "algorithm: {name: fedavg, num_clusters: 8}",
        "algorithm: {name: fedavg, num_clusters: 64, merge: union}",
        "model: {name: mlp, norm: group}",
        "schedule: {name: drift, server_period: 5}",
        "partition: {name: iid, alpha: 0.5}",
    ],
)
def test_a_file_by_hand_with_a_setting_without_use_is_refused(text):
    with pytest.raises(ConfigError, match="has no use with"):
        from_yaml(text)


def test_what_stood_for_the_choices_own_default_is_read_past():
    text = "{model: {name: resnet20, norm: null, width: null}, algorithm: {groups: null}}"
    config = from_yaml(text)
    assert config == replace(ExperimentConfig(), {"model.name": "resnet20"})
