import errno
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from fedcode_jax import data
from fedcode_jax.errors import ConfigError, DataError

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETS = [folder for folder in (ROOT / "shared/data", ROOT.parent / "shared/data") if folder.is_dir()]


def arrays(n=6, **changed):
    rng = np.random.default_rng(n)
    made = {
        "train_x": rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8),
        "train_y": np.arange(n) % 3,
        "test_x": rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8),
        "test_y": np.arange(3),
    }
    return {name: a for name, a in (made | changed).items() if a is not None}


@pytest.fixture
def write(tmp_path):
    def write(name="set.npz", **changed):
        np.savez(tmp_path / name, **arrays(**changed))
        return tmp_path / name

    return write


def test_one_file(write):
    loaded = data.load("npz", path=write())
    for name, array in arrays().items():
        np.testing.assert_array_equal(getattr(loaded, name), array)
    assert loaded.name == "set"
    assert loaded.num_classes == 3


@pytest.mark.parametrize("kind", [str, pathlib.Path, lambda p: [str(p)], lambda p: (p,)])
def test_kinds_of_path_and_compression(tmp_path, kind):
    np.savez_compressed(tmp_path / "set.npz", **arrays())
    whole = data.load("npz", path=kind(tmp_path / "set.npz"))
    assert whole.num_train == 6


def test_home_is_understood(write, monkeypatch):
    path = write()
    monkeypatch.setenv("HOME", str(path.parent))
    assert data.load("npz", path="~/set.npz").num_train == 6


def test_several_files_follow_each_other(write):
    a = write("a.npz", n=6, train_user=list("xyxyxy"), class_names=["k", "l", "m"])
    b = write("b.npz", n=4, train_user=list("zxzz"), class_names=["k", "l", "m"])
    loaded = data.load("npz", path=(a, b))
    assert loaded.name == "a+b"
    np.testing.assert_array_equal(
        loaded.train_x, np.concatenate([arrays(6)["train_x"], arrays(4)["train_x"]])
    )
    np.testing.assert_array_equal(loaded.train_user, [0, 1, 0, 1, 0, 1, 2, 0, 2, 2])
    assert loaded.num_test == 6
    assert loaded.class_names == ("k", "l", "m")


def test_label_names_are_class_names_too(write):
    assert data.load("npz", path=write(label_names=[b"k", b"l", b"m"])).class_names == (
        "k",
        "l",
        "m",
    )


def test_num_classes_can_be_set(write):
    assert data.load("npz", path=write(), num_classes=5).num_classes == 5
    with pytest.raises(DataError, match=r"set\.npz: train_y: label 2 .* outside 0\.\.1"):
        data.load("npz", path=write(), num_classes=2)
    with pytest.raises(ConfigError, match=r"data\.num_classes"):
        data.load("npz", path=write(), num_classes=0)


def test_extra_members_are_left_alone(write):
    assert data.load("npz", path=write(notes=np.array("x"), val_x=[1, 2, 3])).num_train == 6


def test_users_of_both_splits_are_numbered_alike(write):
    a = write("a.npz", n=6, train_user=list("xyxyxy"), test_user=list("xwy"))
    b = write("b.npz", n=4, train_user=list("zxzz"), test_user=list("zwz"))
    loaded = data.load("npz", path=a)
    np.testing.assert_array_equal(loaded.train_user, [1, 2, 1, 2, 1, 2])
    np.testing.assert_array_equal(loaded.test_user, [1, 0, 2])
    both = data.load("npz", path=(a, b))
    np.testing.assert_array_equal(both.train_user, [1, 2, 1, 2, 1, 2, 3, 1, 3, 3])
    np.testing.assert_array_equal(both.test_user, [1, 0, 2, 3, 0, 3])
    assert both.test_user.dtype == np.int32


def test_waveforms_and_features(write):
    rng = np.random.default_rng(0)
    waves = rng.integers(-99, 99, (6, 50)).astype(np.int16)
    loaded = data.load("npz", path=write(train_x=waves, test_x=waves[:3]))
    assert loaded.train_x.dtype == np.int16
    np.testing.assert_array_equal(loaded.train_x, waves)
    mel = rng.standard_normal((6, 9, 4))
    loaded = data.load("npz", path=write(train_x=mel, test_x=mel[:3]))
    np.testing.assert_array_equal(loaded.train_x[..., 0], mel.astype(np.float32))


@pytest.fixture
def mapped(monkeypatch):
    """Maps every member of 1,000 bytes or more."""
    monkeypatch.setattr("fedcode_jax.data.npz._MAPPED_FROM", 1000)


def base_of(array):
    """The array that owns the memory, at the end of a chain of views."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(40, 4, 4, 3), (40, 9, 7), (40, 33)])
def test_large_members_are_mapped_and_not_copied(write, mapped, shape, dtype):
    x = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    y = np.arange(40) % 3
    loaded = data.load("npz", path=write(train_x=x, train_y=y, test_x=x[:3]))
    np.testing.assert_array_equal(loaded.train_x.reshape(shape), x)
    assert isinstance(base_of(loaded.train_x), np.memmap)
    assert not isinstance(base_of(loaded.test_x), np.memmap)  # 600 bytes at most
    assert not loaded.train_x.flags.writeable


def test_a_mapped_set_is_the_set_that_is_read(write, monkeypatch):
    path = write(n=40)
    read = data.load("npz", path=path).checksum
    monkeypatch.setattr("fedcode_jax.data.npz._MAPPED_FROM", 0)
    assert data.load("npz", path=path).checksum == read
    assert isinstance(base_of(data.load("npz", path=path).train_x), np.memmap)


def test_compressed_and_fortran_ordered_members(tmp_path, mapped):
    made = arrays(n=40)
    np.savez_compressed(tmp_path / "a.npz", **made)
    np.savez(tmp_path / "b.npz", **made | {"train_x": np.asfortranarray(made["train_x"])})
    for name in ("a.npz", "b.npz"):
        loaded = data.load("npz", path=tmp_path / name)
        np.testing.assert_array_equal(loaded.train_x, made["train_x"])
        assert not isinstance(base_of(loaded.train_x), np.memmap)


def test_a_renamed_member_that_may_be_left_out_is_damage(write):
    path = write(train_user=np.arange(6))
    content = path.read_bytes()
    last = content.rindex(b"train_user")
    path.write_bytes(content[:last] + b"train_usEr" + content[last + 10 :])
    with pytest.raises(DataError, match=r"set\.npz: damaged; copy or write it again"):
        data.load("npz", path=path)


def test_mapped_damage_never_passes(tmp_path, mapped):
    file = tmp_path / "set.npz"
    np.savez(file, **arrays(n=40))
    whole, right = file.read_bytes(), data.load("npz", path=file).checksum
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(len(whole), size=200):
        broken = bytearray(whole)
        broken[place] ^= 1 << rng.integers(8)
        file.write_bytes(broken)
        try:
            assert data.load("npz", path=file).checksum == right
        except DataError as error:
            assert "set.npz" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 150


def test_values_of_mapped_members_are_checked(write, mapped, monkeypatch):
    monkeypatch.setattr("fedcode_jax.data.arrays._BYTES_AT_ONCE", 100)
    x = np.zeros((40, 10), np.float32)
    x[29, 3] = np.inf
    y = np.arange(40) % 3
    with pytest.raises(DataError, match=r"set\.npz: train_x: row 29 holds a value that is not fin"):
        data.load("npz", path=write(train_x=x, train_y=y, test_x=x[:3]))


@pytest.mark.slow
def test_memory_of_a_large_set_is_not_its_size(tmp_path):
    x = np.zeros((120, 1024, 1024), np.float32)  # 480 MB
    np.savez(tmp_path / "big.npz", train_x=x, train_y=np.arange(120) % 3, test_x=x[:1], test_y=[0])
    # RssAnon leaves out the pages of the file, which the system takes back when it needs them.
    code = """
import sys
from fedcode_jax import data
def anonymous():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) / 1024
before, peak = anonymous(), 0
sys.setprofile(lambda *_: globals().update(peak=max(peak, anonymous())))
data.load("npz", path=sys.argv[1]).checksum
sys.setprofile(None)
print(peak - before)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "big.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100  # MB


@pytest.mark.parametrize("path", [None, (), ""])
def test_no_path(path):
    with pytest.raises(ConfigError, match=r"data\.path: not set"):
        data.load("npz", path=path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"gone\.npz: no such file; set data\.path"):
        data.load("npz", path=tmp_path / "gone.npz")
    with pytest.raises(DataError, match="a folder, not a file"):
        data.load("npz", path=tmp_path)


def test_not_an_npz(tmp_path):
    file = tmp_path / "set.npz"
    for content in (b"", b"hello", b"PK\x03\x04 but no more"):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"set\.npz: not an \.npz file"):
            data.load("npz", path=file)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"one\.npy: not an \.npz file"):
        data.load("npz", path=tmp_path / "one.npy")


def test_missing_members_are_named_beside_those_there(write):
    with pytest.raises(DataError, match=r"no array train_y, test_x; it holds train_x, test_y, z\."):
        data.load("npz", path=write(train_y=None, test_x=None, z=np.zeros(1)))


@pytest.mark.parametrize("name", ["train_x", "train_y", "train_user"])
def test_object_arrays_are_not_unpickled(write, name):
    with pytest.raises(DataError, match=rf"set\.npz: {name}: an object array"):
        data.load("npz", path=write(**{name: np.array([None] * 6, object)}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_y": np.arange(5)}, "train_y: shape"),
        ({"train_y": np.arange(6.0)}, "train_y: dtype float64"),
        ({"test_x": np.zeros((3, 4, 4, 1), np.uint8)}, "test_x: samples of shape"),
        ({"train_x": np.zeros(6)}, "train_x: shape"),
        ({"train_x": np.float32(1)}, "train_x: a single value"),
        ({"train_user": np.arange(3)}, "train_user: shape"),
        ({"test_user": np.arange(3)}, "test_user without train_user"),
        ({"train_user": np.arange(6), "test_user": np.arange(6)}, "test_user: shape"),
        ({"train_user": np.arange(6), "test_user": list("abc")}, "test_user: <U1, but train_user"),
        ({"train_user": ["a", "", "b", "", "c", "d"]}, "train_user: row 1 is empty"),
        ({"class_names": ["a", "b"]}, "train_y: label 2"),
        ({"class_names": ["a", "b", "a"]}, "class_names: 'a' names two classes"),
        ({"class_names": np.array("a")}, "class_names: a single value"),
    ],
)
def test_wrong_arrays_name_file_and_array(write, changed, message):
    with pytest.raises(DataError, match=rf"set\.npz: {message}"):
        data.load("npz", path=write(**changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_x": np.zeros((6, 4, 4, 1), np.uint8)}, r"b\.npz: train_x: samples uint8\[4, 4, 1"),
        ({"train_x": np.zeros((6, 4, 4, 3), np.float32)}, r"b\.npz: train_x: samples float32"),
        ({"train_y": np.arange(5)}, r"b\.npz: train_y: shape"),
        ({"train_user": None}, r"b\.npz: no array train_user, but .*a\.npz has one"),
        ({"train_user": list("xyxyxy")}, r"b\.npz: train_user: dtype"),
        ({"class_names": list("abc")}, r"a\.npz: no array class_names, but .*b\.npz has one"),
    ],
)
def test_files_that_do_not_fit_together(write, changed, message):
    a = write("a.npz", train_user=np.arange(6))
    b = write("b.npz", **({"train_user": np.arange(6)} | changed))
    with pytest.raises(DataError, match=message):
        data.load("npz", path=[a, b])


@pytest.mark.parametrize("name", ["train_y", "train_user"])
@pytest.mark.parametrize("first", [np.uint64, np.uint32, np.int8])
def test_whole_numbers_of_unlike_dtypes_stay_whole(write, name, first):
    users = {"train_user": np.arange(6) % 3}
    other = users | {name: (np.arange(6) % 3).astype(first)}
    loaded = data.load("npz", path=[write("a.npz", **users), write("b.npz", **other)])
    np.testing.assert_array_equal(getattr(loaded, name), np.arange(12) % 3)


def test_large_users_of_unlike_dtypes_stay_apart(write):
    train = np.uint64([2**63, 2**63 + 1, 1, 2**63, 1, 1])
    path = write(train_user=train, test_user=np.int64([1, 2, 3]))
    np.testing.assert_array_equal(data.load("npz", path=path).train_user, [3, 4, 0, 3, 0, 0])
    b = write("b.npz", train_user=np.int64([-1, 0, 1, 2, 3, 4]), test_user=np.int64([1, 2, 3]))
    with pytest.raises(DataError, match=r"train_user: negative numbers beside some above 2\^63"):
        data.load("npz", path=[path, b])


def test_a_relative_path_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^gone\.npz: no such file \(looked in {tmp_path}\); set"):
        data.load("npz", path="gone.npz")


def test_files_with_users_of_another_kind(write):
    users = {"train_user": np.arange(6), "test_user": np.arange(3)}
    a, b = write("a.npz", **users), write("b.npz", **users | {"test_user": list("abc")})
    with pytest.raises(DataError, match=r"b\.npz: test_user: dtype <U1"):
        data.load("npz", path=[a, b])


def test_files_with_other_class_names(write):
    a, b = write("a.npz", class_names=list("abc")), write("b.npz", class_names=list("acb"))
    with pytest.raises(DataError, match=r"b\.npz: class_names: not those of"):
        data.load("npz", path=[a, b])


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_a_file_cut_short(write, part):
    file = write()
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(DataError, match="cut short"):
        data.load("npz", path=file)


def forged(file, header):
    """A zip with the members of a data set, each of which is this header and no data."""
    header = header.ljust(117) + b"\n"
    length = len(header).to_bytes(2, "little")
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("train_x", "train_y", "test_x", "test_y"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + length + header)
    return file


# A TokenError and an IndentationError of the tokenizer, and a ValueError of several lines.
@pytest.mark.parametrize(
    "header", [b"{'descr': '|u1', 'shape': (3, ", b"if 1:\n  a\n b\n", b" " * 20_000]
)
@pytest.mark.parametrize("mapped_from", [0, 2**20])
def test_a_header_that_is_no_literal_is_damage(tmp_path, monkeypatch, header, mapped_from):
    monkeypatch.setattr("fedcode_jax.data.npz._MAPPED_FROM", mapped_from)
    damage = r"set\.npz: train_x: damaged; copy or write it again \(.+\)$"
    with pytest.raises(DataError, match=damage) as told:
        data.load("npz", path=forged(tmp_path / "set.npz", header))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "error", [OverflowError, TypeError, lambda text: OSError(errno.EINVAL, text)]
)
def test_whatever_a_reader_raises_is_damage(write, monkeypatch, error):
    def fail(self, name):
        raise error("of some version of Python")

    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", fail)
    with pytest.raises(DataError, match=r"set\.npz: train_x: damaged; .*of some version"):
        data.load("npz", path=write())


def test_hostile_pickles_are_never_run(tmp_path):
    """An object array of which unpickling would make a file."""
    mark, bomb = tmp_path / "mark", tmp_path / "bomb.npz"

    class Hostile:
        def __reduce__(self):
            return pathlib.Path.touch, (mark,)

    np.savez(bomb, **arrays() | {"train_y": np.array([Hostile()] * 6, object)})
    with pytest.raises(DataError, match=r"bomb\.npz: train_y: an object array"):
        data.load("npz", path=bomb)
    assert not mark.exists()
    np.load(bomb, allow_pickle=True)["train_y"]
    assert mark.exists()  # or nothing would have been shown


def test_a_forged_shape_is_refused(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 4, 4), }" % 10**15
    file = forged(tmp_path / "set.npz", header)
    with pytest.raises(DataError, match=r"train_x: (too large|damaged)"):
        data.load("npz", path=file)


@pytest.mark.skipif(not SETS, reason="no shared/data beside or inside the repository")
def test_real_mnist():
    mnist = data.load("npz", path=SETS[0] / "mnist/mnist.npz")
    assert mnist.train_x.shape == (60000, 28, 28, 1)
    assert mnist.test_x.shape == (10000, 28, 28, 1)
    assert np.bincount(mnist.train_y).tolist()[:3] == [5923, 6742, 5958]
    np.testing.assert_allclose(mnist.mean / 255, 0.130660, atol=1e-6)
    np.testing.assert_allclose(mnist.std / 255, 0.308108, atol=1e-6)


@pytest.mark.skipif(not SETS, reason="no shared/data beside or inside the repository")
def test_a_real_file_of_another_form_is_explained():
    with pytest.raises(DataError, match=r"no array train_x, test_x; it holds .*train_res"):
        data.load("npz", path=SETS[0] / "cifar10_small/cifar10_small.npz")
