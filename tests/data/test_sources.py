import itertools

import numpy as np
import pytest

from fedcode_jax import data
from fedcode_jax.data.prepared import KNOWN
from fedcode_jax.errors import ConfigError


def test_digits_are_the_known_ones():
    digits = data.load("digits")
    assert digits.train_x.shape == (1437, 8, 8, 1)
    assert digits.test_x.shape == (360, 8, 8, 1)
    assert digits.train_x.dtype == np.uint8
    assert digits.train_x.max() == 16
    assert digits.num_classes == 10
    both = np.concatenate([digits.train_x, digits.test_x]).reshape(-1, 64)
    from sklearn.datasets import load_digits

    original = load_digits().data.astype(np.uint8)
    np.testing.assert_array_equal(
        both[np.lexsort(both.T)], original[np.lexsort(original.T)]
    )  # the same 1,797 images, none lost, none twice


def test_digits_split_is_stratified_and_fixed():
    digits = data.load("digits")
    total = np.bincount(digits.train_y) + np.bincount(digits.test_y)
    assert np.abs(np.bincount(digits.test_y) - total * 360 / 1797).max() < 1
    assert data.load("digits", seed=1).checksum == digits.checksum
    # A change of the split makes earlier figures incomparable: it must be on purpose.
    assert digits.checksum.startswith("6cb3b94ffe281c23")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8, 8, 1), np.uint8), ((5, 3, 2), np.uint8), ((20,), np.float32), ((6, 4), np.float32)],
)
def test_synthetic_shapes(shape, dtype):
    made = data.load("synthetic", shape=shape, num_classes=3, train_size=31, test_size=8)
    assert made.train_x.shape[:1] == (31,)
    assert made.input_shape[: len(shape)] == shape
    assert made.train_x.dtype == dtype
    assert made.num_classes == 3
    np.testing.assert_array_equal(np.bincount(made.train_y), [11, 10, 10])


def test_synthetic_follows_the_seed():
    make = lambda seed: data.load("synthetic", train_size=50, test_size=9, seed=seed)  # noqa: E731
    assert make(3).checksum == make(3).checksum
    assert make(3).checksum != make(4).checksum
    assert not np.array_equal(make(3).train_x[:9], make(3).test_x)


@pytest.mark.parametrize(
    ("shape", "num_classes"), [((8, 8, 1), 10), ((32, 32, 3), 10), ((20,), 10), ((784,), 5)]
)
def test_synthetic_can_be_learnt_but_not_perfectly(shape, num_classes):
    from sklearn.neighbors import NearestCentroid

    made = data.load("synthetic", shape=shape, num_classes=num_classes)
    flat = lambda x: x.reshape(len(x), -1).astype(np.float32)  # noqa: E731
    model = NearestCentroid().fit(flat(made.train_x), made.train_y)
    assert 0.8 < model.score(flat(made.test_x), made.test_y) < 0.999


def test_unknown_names_are_answered():
    with pytest.raises(ConfigError, match=r"data\.name: unknown name 'digit'.*'digits'"):
        data.load("digit")


def test_options_of_another_source_are_refused():
    options = {
        "path": "x.npz",
        "dir": "folder",
        "num_classes": 3,
        "train_size": 5,
        "test_size": 5,
        "shape": (3,),
    }
    takes = {
        "digits": set(),
        "npz": {"path", "num_classes"},
        "synthetic": set(options) - {"path", "dir"},
    }
    takes.update({name: {"dir"} for name in KNOWN})
    assert set(takes) == set(data.registry)
    for name, option in itertools.product(takes, options):
        if option not in takes[name]:
            with pytest.raises(ConfigError, match=rf"data\.{option}: .* is only read by"):
                data.load(name, **{option: options[option]})


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("data.num_classes", {"num_classes": 0}),
        ("data.train_size", {"train_size": 0}),
        ("data.test_size", {"test_size": -1}),
        ("data.test_size", {"test_size": 2.5}),
        ("data.shape", {"shape": ()}),
        ("data.shape", {"shape": (3, 0)}),
        ("seed", {"seed": -1}),
    ],
)
def test_synthetic_options_out_of_range(setting, options):
    with pytest.raises(ConfigError, match=setting):
        data.load("synthetic", **options)
