"""``partition.seed``: a split that stays while the seed varies, and the other way round."""

import numpy as np
import pytest

from fedcode_jax import config as configs
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.data import load, partition
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.grouping import Shelf
from fedcode_jax.experiment.parts import Parts

OWN = "own_partitions:{}"


def made(**changes):
    config = configs.replace(ExperimentConfig(), changes)
    return Parts().partition(config, load("digits")).checksum


@pytest.mark.parametrize("name", sorted(set(partition.registry) - {"by_user"}))
def test_the_split_stays_while_the_seed_varies_and_the_other_way_round(name):
    of_law = {"partition.name": name}
    assert made(**of_law, seed=1) != made(**of_law, seed=2)
    stays = [made(**of_law, **{"partition.seed": 5}, seed=seed) for seed in (1, 2)]
    assert stays == [made(**of_law, seed=5)] * 2
    assert made(**of_law, **{"partition.seed": 6}, seed=1) != stays[0]
    assert made(**of_law, **{"partition.seed": 0}, seed=1) == made(**of_law, seed=0)


def test_a_sweep_over_seeds_draws_such_a_split_once():
    shelf = Shelf(Parts())
    config = configs.replace(ExperimentConfig(), {"partition.seed": 5})
    first, second = (
        shelf.blueprint(configs.replace(config, {"seed": seed})).partition for seed in (1, 2)
    )
    assert first is second


def test_a_seed_without_use_is_refused(tmp_path, monkeypatch):
    (tmp_path / "own_partitions.py").write_text(
        "def without(labels):\n    return [range(len(labels))]\n"
        "def drawn(labels, seed):\n    return [range(seed, len(labels))]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"partition\.seed: 3 .*takes no seed"):
        made(**{"partition.name": OWN.format("without"), "partition.seed": 3})
    own = {"partition.name": OWN.format("drawn"), "partition.seed": 3}
    config = configs.replace(ExperimentConfig(), own)
    dealt = Parts().partition(config, load("digits"))
    np.testing.assert_array_equal(dealt.clients[0][:2], [3, 4])
    with pytest.raises(ConfigError, match=r"partition\.seed: 3 .*that was given"):
        configs.replace(ExperimentConfig(), {"partition.name": "given mine", "partition.seed": 3})
