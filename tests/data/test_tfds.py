import json
import struct
import subprocess
import sys
import types
from importlib.util import find_spec

import numpy as np
import prepared_sets
import pytest
import tensorflow_datasets as tfds

from fedcode_jax import data
from fedcode_jax.data import prepared, preparing
from fedcode_jax.errors import ConfigError, DataError

NAMES = list("abcde")
RNG = np.random.default_rng(0)


def images(n, shape=(6, 5, 3)):
    return RNG.integers(0, 256, (n, *shape), dtype=np.uint8)


SPLITS = {
    "train": (images(23), np.arange(23) % 5),
    "test": (images(7), np.arange(7)[::-1] % 5),
}
IDS = {"id": (tfds.features.Text(), lambda row: f"train_{row:05d}")}


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A folder that holds a small set of CIFAR-10's name and features."""
    folder = tmp_path_factory.mktemp("tfds")
    prepared_sets.prepare(folder, "cifar10", SPLITS, names=NAMES, extra=IDS)
    return folder


def equal_bytes(made):
    for split, (x, y) in SPLITS.items():
        np.testing.assert_array_equal(getattr(made, f"{split}_x"), x)
        np.testing.assert_array_equal(getattr(made, f"{split}_y"), y)
    assert made.train_x.dtype == np.uint8
    assert made.train_y.dtype == np.int32
    assert made.class_names == tuple(NAMES)


def test_a_prepared_set_is_read_byte_for_byte_in_its_original_order(cifar):
    source = tfds.data_source("cifar10", split="train", data_dir=cifar, download=False)
    shuffled = [int(example["id"][-5:]) for example in source]
    assert shuffled != sorted(shuffled)  # or the next line would show nothing
    equal_bytes(data.load("cifar10", dir=cifar))


def test_the_folder_of_the_set_itself_will_do(cifar):
    equal_bytes(data.load("cifar10", dir=cifar / "cifar10" / "3.0.2"))
    with pytest.raises(DataError, match=r"holds cifar10, not mnist; set data.name to cifar10"):
        data.load("mnist", dir=cifar / "cifar10" / "3.0.2")


def test_the_folder_of_tensorflow_datasets_is_the_default(cifar, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(cifar))
    equal_bytes(data.load("cifar10"))
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", "/nowhere")
    assert str(prepared.default_dir()) == "/nowhere/tensorflow_datasets"


def test_without_numbers_the_order_is_that_of_the_files(tmp_path):
    prepared_sets.prepare(tmp_path, "mnist", SPLITS, names=NAMES)
    source = tfds.builder_from_directory(tmp_path / "mnist/3.0.2").as_data_source("train")
    made = data.load("mnist", dir=tmp_path)
    np.testing.assert_array_equal(made.train_x, [example["image"] for example in source])
    np.testing.assert_array_equal(made.train_y, [example["label"] for example in source])


def test_a_tfrecord_set_is_read_without_tensorflow(tmp_path):
    folder = prepared_sets.prepare(tmp_path, "cifar10", SPLITS, names=NAMES, extra=IDS)
    prepared_sets.as_tfrecord(folder)
    assert not list(folder.glob("*array_record*"))
    equal_bytes(data.load("cifar10", dir=tmp_path))

    (file,) = folder.glob("*train*")
    whole = file.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    for content in (whole[:-2], whole[: length + 20]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"train.tfrecord-00000-of-00001: cut short in record"):
            data.load("cifar10", dir=tmp_path)
    file.write_bytes(whole[: length + 16])
    with pytest.raises(DataError, match="train: 1 of 23 examples are there"):
        data.load("cifar10", dir=tmp_path)
    second = length + 16
    for place, what in ((3, "0 is damaged: .* its length"), (second + 20, "1 .* its data")):
        broken = bytearray(whole)
        broken[place] ^= 1
        file.write_bytes(broken)
        with pytest.raises(DataError, match=rf"train.tfrecord-00000-of-00001: record {what}"):
            data.load("cifar10", dir=tmp_path)


def test_configurations_and_the_newest_version(tmp_path):
    folder = prepared_sets.prepare(tmp_path, "emnist", SPLITS, names=NAMES, config="letters")
    folder.rename(folder.with_name("3.0.2"))
    assert data.load("emnist/letters", dir=tmp_path).num_train == 23
    assert data.load("emnist", dir=tmp_path).num_train == 23  # the only one, and so the default
    assert prepared.find("emnist/digits", tmp_path) is None
    for version in ("3.0.10", "3.0.9", "3.0.11.incomplete"):
        (folder.parent / version).mkdir()
        (folder.parent / version / "dataset_info.json").write_text("{}")
    assert prepared.find("emnist/letters", tmp_path).name == "3.0.10"


def test_a_set_of_ones_own_and_validation_for_test(tmp_path):
    splits = {"train": SPLITS["train"], "validation": SPLITS["test"]}
    prepared_sets.prepare(tmp_path, "my_pictures", splits, names=NAMES)
    assert data.load("my_pictures", dir=tmp_path).num_test == 7
    assert prepared.found(tmp_path) == ["my_pictures"]
    assert prepared.sizes(prepared.find("my_pictures", tmp_path)) == {"train": 23, "validation": 7}


def test_a_set_without_a_test_split(tmp_path):
    prepared_sets.prepare(tmp_path, "mnist", {"train": SPLITS["train"]}, names=NAMES)
    with pytest.raises(DataError, match="mnist: its splits are train; train is needed, and test"):
        data.load("mnist", dir=tmp_path)


def test_images_of_unequal_size(tmp_path):
    x = [*images(3, (4, 4, 3)), *images(2, (4, 5, 3))]
    splits = {"train": (x, [0, 1, 2, 3, 4]), "test": SPLITS["test"]}
    prepared_sets.prepare(tmp_path, "mnist", splits, names=NAMES, shape=(None, None, 3))
    with pytest.raises(DataError, match=r"mnist: train: images of unequal size, \(4, . ?, 3\)"):
        data.load("mnist", dir=tmp_path)


@pytest.fixture
def speech(tmp_path):
    """A prepared set of sounds; tensorflow-datasets cannot make one without TensorFlow."""
    folder = prepared_sets.prepare(tmp_path, "speech_commands", SPLITS, names=NAMES)
    file = folder / "features.json"
    features = json.loads(file.read_text())
    kinds = features["featuresDict"]["features"]
    kinds["audio"] = {
        "pythonClassName": kinds.pop("image")["pythonClassName"].replace(
            "image_feature.Image", "audio_feature.Audio"
        ),
        "audio": {
            "dtype": "int16",
            "shape": {"dimensions": ["-1"]},
            "sampleRate": "16000",
            "encoding": "none",
        },
    }
    file.write_text(json.dumps(features))
    return tmp_path


@pytest.mark.skipif(find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_sounds_without_tensorflow(speech):
    message = r"to read it, install tensorflow; speech_commands can be read without it"
    with pytest.raises(DataError, match=message):
        data.load("speech_commands", dir=speech)


def test_clips_are_padded_or_cut_to_a_second(monkeypatch):
    clips = [RNG.integers(-99, 99, n).astype(np.int16) for n in (16_000, 9, 20_000)]

    class Audio:
        sample_rate = 16_000

    rows = [{"audio": clip, "label": label} for label, clip in enumerate(clips)]
    features = {"audio": Audio(), "label": tfds.features.ClassLabel(names=NAMES)}
    split = types.SimpleNamespace(num_examples=3)
    info = types.SimpleNamespace(
        features=features,
        splits={"train": split, "test": split, "validation": split},
        file_format=tfds.core.FileFormat.ARRAY_RECORD,
    )
    builder = types.SimpleNamespace(
        info=info,
        data_path="here",
        as_data_source=lambda split: {"train": rows, "test": rows}[split],
    )
    monkeypatch.setattr(prepared, "find", lambda name, dir: None)
    monkeypatch.setattr(preparing, "prepare", lambda name, dir: builder)
    made = data.load("speech_commands", features="raw")
    assert made.train_x.dtype == np.int16
    np.testing.assert_array_equal(made.train_x[0], clips[0])
    np.testing.assert_array_equal(made.train_x[1], [*clips[1], *[0] * 15_991])
    np.testing.assert_array_equal(made.train_x[2], clips[2][:16_000])
    np.testing.assert_array_equal(made.test_y, [0, 1, 2])
    assert data.load("speech_commands").input_shape == (98, 64, 1)

    Audio.sample_rate = 8000
    message = "speech_commands: clips of 8,000 samples a second; 16,000 are needed: resample"
    with pytest.raises(DataError, match=message):
        data.load("speech_commands")


def test_the_archive_of_speech_commands_is_known_by_its_lists(tmp_path):
    (tmp_path / "testing_list.txt").touch()
    with pytest.raises(DataError, match=r"validation_list\.txt: cannot be read"):
        data.load("speech_commands", dir=tmp_path)


def test_tensorflow_datasets_own_mock(cifar, tmp_path):
    with tfds.testing.mock_data(num_examples=11):
        made = data.load("cifar10", dir=tmp_path)
    assert made.train_x.shape == (11, 32, 32, 3) == made.test_x.shape
    assert made.num_classes == 10
    assert len(np.unique(made.train_x)) > 200

    policy, folder = tfds.testing.MockPolicy.USE_FILES, cifar / "cifar10" / "3.0.2"
    with tfds.testing.mock_data(num_examples=12, policy=policy, data_dir=folder):
        made = data.load("cifar10", dir=cifar)
    assert made.train_x.shape == (12, 6, 5, 3)
    assert made.class_names == tuple(NAMES)
    assert not np.array_equal(made.train_x, SPLITS["train"][0][:12])


def test_damaged_files_are_named(tmp_path):
    folder = prepared_sets.prepare(tmp_path, "mnist", SPLITS, names=NAMES)
    (file,) = folder.glob("*train*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"mnist.3.0.2: the train split cannot be read"):
        data.load("mnist", dir=tmp_path)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"3\.0\.2: damaged, or no prepared set"):
        data.load("mnist", dir=tmp_path)


def test_a_flipped_bit_of_an_array_record_never_passes(tmp_path):
    folder = prepared_sets.prepare(tmp_path, "mnist", SPLITS, names=NAMES)
    right = data.load("mnist", dir=tmp_path).checksum
    (file,) = folder.glob("*train*")
    whole = file.read_bytes()
    held = np.flatnonzero(np.frombuffer(whole, np.uint8))
    refused = 0
    for place in held[:: len(held) // 20]:
        broken = bytearray(whole)
        broken[place] ^= 4
        file.write_bytes(broken)
        try:
            assert data.load("mnist", dir=tmp_path).checksum == right
        except DataError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cifar1", "cifar10"),
        ("digit", "digits"),
        ("emnist/balancd", "emnist/balanced"),
        ("kmnists", "kmnist"),
        ("../cifar10", "cifar10"),
    ],
)
def test_the_nearest_name_is_suggested(tmp_path, name, near):
    with pytest.raises(ConfigError, match=f"data.name: unknown name .* Did you mean '{near}'"):
        data.load(name, dir=tmp_path)


def test_sets_of_another_kind_are_refused_before_they_are_downloaded(tmp_path):
    message = r"imdb_reviews: an example holds text \(Text\), label \(ClassLabel\); one image"
    with pytest.raises(DataError, match=message):
        data.load("imdb_reviews", dir=tmp_path)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network here")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr(preparing, "_RETRIES", 1)


def test_no_data_and_no_network_is_one_clear_error(tmp_path, no_network):
    message = (
        f"cifar10: not prepared in {tmp_path}, and it cannot be downloaded .no answer from "
        f"www.cs.toronto.edu.; with a network, run: fedcode data prepare cifar10 --dir {tmp_path}$"
    )
    with pytest.raises(DataError, match=message):
        data.load("cifar10", dir=tmp_path)
    assert prepared.find("cifar10", tmp_path) is None  # and nothing half-made is taken for it
    assert prepared.found(tmp_path) == []


def test_a_folder_left_half_made_is_explained(tmp_path):
    (tmp_path / "cifar10" / "3.0.2").mkdir(parents=True)
    with pytest.raises(DataError, match=r"3.0.2: no complete set \(dataset_info.json is missing\)"):
        data.load("cifar10", dir=tmp_path)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError("disk")])
def test_an_interrupted_preparation_leaves_nothing_that_looks_prepared(tmp_path, monkeypatch, stop):
    def generate(self, dl_manager, config):
        (self.data_path / "cifar10-train.array_record-00000-of-00001").write_text("half")
        raise stop

    builder = tfds.core.GeneratorBasedBuilder
    monkeypatch.setattr(builder, "_download_and_prepare", generate)
    with pytest.raises((KeyboardInterrupt, DataError)):
        preparing.prepare("cifar10", tmp_path)
    assert prepared.find("cifar10", tmp_path) is None
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_nothing_imports_tensorflow(cifar):
    code = """
import sys
class Hide:
    finders = list(sys.meta_path)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            return None
        return next(filter(None, (f.find_spec(name, path, target) for f in self.finders)), None)
sys.meta_path[:] = [Hide()]
from fedcode_jax import data
assert "tensorflow_datasets" not in sys.modules
print(data.load("cifar10", dir=sys.argv[1]).num_train)
try:
    data.load("speech_commands", dir=sys.argv[1])
except ValueError as error:
    print(error)
assert "tensorflow" not in sys.modules
"""
    command = [sys.executable, "-W", "error", "-c", code, str(cifar)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    number, *_, error = done.stdout.splitlines()
    assert number == "23"
    assert "preparing it needs tensorflow, which is not installed" in error
    assert done.stderr == ""
