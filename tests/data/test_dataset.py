import dataclasses

import numpy as np
import pytest

from fedcode_jax.data import as_dataset, from_arrays
from fedcode_jax.errors import DataError

RNG = np.random.default_rng(0)
X = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8)
Y = np.array([0, 1, 2, 1])


def make(train_x=X, train_y=Y, test_x=X[:2], test_y=Y[:2], **options):
    return from_arrays("toy", train_x, train_y, test_x, test_y, **options)


def test_images_keep_their_bytes_and_gain_a_channel():
    data = make()
    assert data.train_x.dtype == np.uint8
    assert data.input_shape == (8, 8, 1)
    assert data.is_image
    np.testing.assert_array_equal(data.train_x[..., 0], X)
    assert (data.num_train, data.num_test, data.num_classes) == (4, 2, 3)
    assert data.train_y.dtype == data.test_y.dtype == np.int32
    assert data.class_names == ("0", "1", "2")
    assert data.train_user is None


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.int8, np.uint16, np.bool_])
def test_other_numbers_become_float32(dtype):
    x = (X % 2).astype(dtype)
    data = make(train_x=x, test_x=x[:2])
    assert data.train_x.dtype == data.test_x.dtype == np.float32
    np.testing.assert_array_equal(data.train_x[..., 0], X % 2)


def test_vectors_stay_vectors_and_more_axes_stay():
    assert make(train_x=X.reshape(4, 64), test_x=X[:2].reshape(2, 64)).input_shape == (64,)
    assert not make(train_x=X.reshape(4, 64), test_x=X[:2].reshape(2, 64)).is_image
    video = np.zeros((4, 2, 3, 3, 1), np.float32)
    assert make(train_x=video, test_x=video[:2]).input_shape == (2, 3, 3, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(9, 5, 5, 3), (9, 7), (2100, 2, 2, 1), (5, 2, 2, 6)])
def test_moments_are_those_of_the_train_split_by_channel(shape, dtype):
    x = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    data = make(train_x=x, train_y=np.zeros(len(x), int), test_x=x[:2] * 0, test_y=[0, 0])
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(data.mean, x.mean(axes, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(data.std, x.std(axes, dtype=np.float64), rtol=1e-6)
    assert data.mean.dtype == data.std.dtype == np.float32


@pytest.mark.parametrize("value", [0.0, 0.1, 3e38, -7e-20])
def test_std_of_a_constant_channel_is_one(value):
    x = np.full((4, 2), value, np.float32)
    x[:, 1] = [-1, 1, -1, 1]
    np.testing.assert_array_equal(make(train_x=x, test_x=x[:2]).std, [1, 1])
    assert make(train_x=np.full((4, 3), 7, np.uint8), test_x=np.zeros((2, 3), np.uint8)).std[0] == 1


def test_std_keeps_small_scales():
    x = np.array([[1e-9], [3e-9], [1e-9], [3e-9]])
    np.testing.assert_allclose(make(train_x=x, test_x=x[:2]).std, [1e-9], rtol=1e-5)


def test_checksum_follows_the_content():
    first = make()
    assert first.checksum == make().checksum
    assert len(first.checksum) == 64
    changed = X.copy()
    changed[3, 7, 7] ^= 1
    others = [
        make(train_x=changed),
        make(train_x=X.astype(np.float32), test_x=X[:2].astype(np.float32)),
        make(train_y=[0, 1, 2, 2]),
        make(test_y=[1, 1]),
        make(train_user=[0, 0, 1, 1]),
        make(train_user=[0, 0, 1, 1], test_user=[0, 1]),
        make(train_x=X.reshape(4, 64), test_x=X[:2].reshape(2, 64)),
    ]
    sums = {first.checksum, *(other.checksum for other in others)}
    assert len(sums) == len(others) + 1


def test_checksum_does_not_depend_on_memory_layout():
    assert make(train_x=np.asfortranarray(X)).checksum == make().checksum
    assert make(train_y=Y.astype(">i8")).checksum == make().checksum


def test_it_cannot_be_changed_behind_its_checksum():
    mine = X.copy()
    data = make(train_x=mine)
    with pytest.raises(ValueError, match="read-only"):
        data.train_x[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"
    mine[0] = 0  # the caller's own array stays writeable


def test_str_is_two_readable_lines():
    lines = str(make(train_user=[3, 3, -1, 5])).splitlines()
    assert lines[0] == (
        "toy: 4 train and 2 test samples of uint8[8, 8, 1] (8 x 8 with 1 channel), 3 classes, "
        "2 users"
    )
    assert len(lines) == 2


def images(*shape):
    return RNG.integers(0, 256, (2, *shape), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (4, 6, 5), (3, 32, 48)])
def test_channels_that_come_first_are_refused_or_told(shape):
    x = images(*shape)
    with pytest.raises(DataError, match=r"toy: train_x: samples .* set data\.layout to channels_f"):
        from_arrays("toy", x, [0, 1], x, [0, 1])
    made = from_arrays("toy", x, [0, 1], x, [0, 1], layout="channels_first")
    np.testing.assert_array_equal(made.train_x, x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(made.test_x, x.transpose(0, 2, 3, 1))
    c, h, w = shape
    assert f"uint8[{h}, {w}, {c}] ({h} x {w} with {c} channel{'s' * (c > 1)})" in str(made)
    as_it_comes = from_arrays("toy", x, [0, 1], x, [0, 1], layout="channels_last")
    assert as_it_comes.input_shape == shape
    assert f"({c} x {h} with {w} channels)" in str(as_it_comes)
    assert as_dataset(as_it_comes) is as_it_comes
    by_name = {"train_x": x, "train_y": [0, 1], "test_x": x, "test_y": [0, 1]}
    assert as_dataset(by_name | {"layout": "channels_first"}).checksum == made.checksum


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (3, 3, 3), (3, 32, 3), (9, 8, 7)])
def test_other_shapes_are_taken_as_they_come(shape):
    x = images(*shape)
    assert from_arrays("toy", x, [0, 1], x, [0, 1]).input_shape == shape


@pytest.mark.parametrize(
    ("shape", "layout", "message"),
    [
        ((32, 32, 3), "channels_first", r"\(32, 32, 3\) have their channels last"),
        ((8, 8), "channels_first", r"needs \[N, channels, height, width\]"),
        ((64,), "channels_last", r"\(64,\) have no channels, but data.layout is channels_last"),
        ((8, 8, 3), "nchw", r"data.layout: 'nchw' is unknown; channels_last or channels_first"),
    ],
)
def test_a_layout_that_cannot_be_meant(shape, layout, message):
    x = images(*shape)
    with pytest.raises(DataError, match=message):
        from_arrays("toy", x, [0, 1], x, [0, 1], layout=layout)


def test_str_tells_of_classes_that_are_never_seen():
    assert "3 classes\n" in str(make())
    assert "9 classes (6 without a train sample)\n" in str(make(num_classes=9))


def test_class_names_set_the_number_of_classes():
    assert make(class_names=list("abcd")).num_classes == 4
    assert make(class_names=list("abcd")).class_names == ("a", "b", "c", "d")
    assert make(num_classes=7).num_classes == 7


def test_users():
    np.testing.assert_array_equal(make(train_user=[9, -1, 9, 4]).train_user, [9, -1, 9, 4])
    np.testing.assert_array_equal(make(train_user=["b", "a", "b", "c"]).train_user, [1, 0, 1, 2])
    big = np.array([2**40, -5, 2**50, 2**40])
    np.testing.assert_array_equal(make(train_user=big).train_user, [0, -1, 1, 0])
    assert make(train_user=big).train_user.dtype == np.int32


def test_users_of_both_splits_have_the_same_numbers():
    data = make(train_user=["b", "a", "b", "c"], test_user=["c", "aa"])
    np.testing.assert_array_equal(data.train_user, [2, 0, 2, 3])
    np.testing.assert_array_equal(data.test_user, [3, 1])
    data = make(train_user=[9, -1, 9, 4], test_user=[4, 7])
    np.testing.assert_array_equal(data.test_user, [4, 7])
    data = make(train_user=[5, 5, -3, 6], test_user=[2**40, 5])
    np.testing.assert_array_equal(data.train_user, [0, 0, -1, 1])
    np.testing.assert_array_equal(data.test_user, [2, 0])
    assert data.test_user.dtype == np.int32
    assert not data.test_user.flags.writeable


NAN = np.full((4, 3), np.nan)
BAD = {
    "empty": ({"train_x": X[:0], "train_y": Y[:0]}, "train_x: shape"),
    "empty test": ({"test_x": X[:0], "test_y": Y[:0]}, "test_x: shape"),
    "no feature axis": ({"train_x": np.zeros(4)}, "train_x: shape"),
    "text": ({"train_x": np.full((4, 2), "a")}, "train_x: dtype"),
    "complex": ({"train_x": np.zeros((4, 2), complex)}, "train_x: dtype"),
    "object": ({"train_x": np.full((4, 2), None)}, "train_x: dtype"),
    "nan": ({"train_x": NAN, "test_x": NAN[:2] * 0}, "train_x: row 0 .* not finite"),
    "nan test": ({"train_x": np.zeros((4, 3)), "test_x": NAN[:2]}, "test_x: row 0"),
    "overflow": ({"train_x": np.full((4, 2), 1e300)}, "train_x: row 0"),
    "other shape": ({"test_x": X[:2, :4]}, "test_x: samples of shape"),
    "other dtype": ({"test_x": X[:2] / 255}, "test_x: float64, but train_x is uint8"),
    "too few labels": ({"train_y": Y[:3]}, r"train_y: shape \(3,\).*4 samples"),
    "too few test labels": ({"test_y": Y[:1]}, r"test_y: shape \(1,\)"),
    "column of labels": ({"train_y": Y[:, None]}, "train_y: shape"),
    "float labels": ({"train_y": Y.astype(float)}, "train_y: dtype float64; .*astype"),
    "bool labels": ({"train_y": Y > 0}, "train_y: dtype bool"),
    "text labels": ({"train_y": list("abca")}, "train_y: dtype"),
    "negative label": ({"train_y": [0, 1, -1, 1]}, "train_y: label -1 in row 2 is outside 0..1"),
    "label too large": ({"num_classes": 2}, "train_y: label 2 in row 2 is outside 0..1"),
    "test label unseen": ({"test_y": [0, 3]}, "test_y: label 3 in row 1 is outside 0..2"),
    "test label negative": ({"test_y": [0, -3]}, "test_y: label -3"),
    "labels are ids": ({"train_y": [0, 1, 2, 10**9]}, "train_y: 1,000,000,001 classes"),
    "all labels negative": ({"train_y": [-1, -1, -1, -1]}, "train_y: 0 classes"),
    "huge unsigned": ({"train_y": np.array([0, 0, 0, 2**63], np.uint64)}, "train_y"),
    "names": ({"class_names": ["a"], "num_classes": 3}, "class_names: 1 names for 3"),
    "user length": ({"train_user": [0]}, "train_user: shape"),
    "test users alone": ({"test_user": [0, 1]}, "test_user without train_user"),
    "test user length": ({"train_user": [0] * 4, "test_user": [0]}, "test_user: shape"),
    "kinds of users": ({"train_user": [0] * 4, "test_user": ["a", "b"]}, "test_user: <U1, but"),
    "empty user": ({"train_user": ["a", "b", "", "c"]}, "train_user: row 2 is empty"),
    "float users": ({"train_user": np.zeros(4)}, "train_user: dtype"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_named(case):
    options, message = BAD[case]
    with pytest.raises(DataError, match=message) as error:
        make(**options, source="file.npz")
    assert str(error.value).startswith("file.npz: ")
