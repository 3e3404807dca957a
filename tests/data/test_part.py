"""A part of a data set, drawn evenly and the same for every run."""

import numpy as np
import pytest

from fedcode_jax import data
from fedcode_jax.config import ExperimentConfig, from_dict, replace
from fedcode_jax.errors import ConfigError


@pytest.fixture(scope="module")
def whole():
    n = np.arange(3000)
    x = n[:, None].astype(np.float32)
    return data.from_arrays("sorted", x, n // 1000, x[:30], n[:30] % 3, train_user=n % 7)


def test_samples_keep_their_labels_users_and_order(whole):
    part = data.part_of(whole, train=300, test=10)
    rows = part.train_x[:, 0].astype(int)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(part.train_y, rows // 1000)
    np.testing.assert_array_equal(part.train_user, rows % 7)
    assert (part.num_train, part.num_test, part.num_classes) == (300, 10, 3)
    assert not part.train_x.flags.writeable
    assert part.checksum != whole.checksum


def test_a_sorted_set_is_drawn_from_evenly(whole):
    shares = np.bincount(data.part_of(whole, train=300).train_y) / 300
    np.testing.assert_allclose(shares, 1 / 3, atol=0.1)


def test_all_of_it_is_the_whole(whole):
    for part in (data.part_of(whole), data.part_of(whole, train=3000, test=30)):
        assert part.checksum == whole.checksum


def test_the_settings_take_the_same_part_for_every_seed():
    config = replace(ExperimentConfig(), {"data.train_part": 100, "data.test_part": 50})
    parts = [config.data.build(seed=seed) for seed in (0, 1)]
    assert parts[0].checksum == parts[1].checksum
    assert (parts[0].num_train, parts[0].num_test) == (100, 50)


@pytest.mark.parametrize("split", ["train", "test"])
def test_more_than_there_is_is_refused(whole, split):
    with pytest.raises(ConfigError, match=rf"data.{split}_part: 9999 .*sorted has \d+ {split}"):
        data.part_of(whole, **{split: 9999})
    with pytest.raises(ConfigError, match=rf"data.{split}_part"):
        from_dict({"data": {f"{split}_part": 0}})
