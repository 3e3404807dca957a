"""A small archive of tones, read by rules that are stated here once more."""

import wave

import numpy as np
import pytest

from fedcode_jax import data
from fedcode_jax.data import audio, partition, speech
from fedcode_jax.errors import DataError

# As tensorflow-datasets numbers them.
WORD_CLASSES = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes"]
CLASSES = [*WORD_CLASSES, "_silence_", "_unknown_"]
WORDS = [*WORD_CLASSES, "bird", "cat", "zero"]
SPEAKERS = {
    "0a1b2c3d": "train",
    "1b2c3d4e": "train",
    "2c3d4e5f": "validation",
    "00ff00ff": "test",
}
NOISES = {"pink_noise.wav": 40_000, "white_noise.wav": 32_000, "running_tap.wav": 24_001}


def write(file, samples):
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(np.asarray(samples, "<i2").tobytes())


def tone(*names, length=16000):
    """A waveform of its own for every name."""
    seed = list("/".join(names).encode())
    return np.random.default_rng(seed).integers(-9000, 9000, length).astype(np.int16)


def make_archive(root):
    """A clip a word and speaker, a second one of the first speaker; lengths differ."""
    lists = {"validation": [], "test": []}
    for w, word in enumerate(WORDS):
        for s, (speaker, split) in enumerate(SPEAKERS.items()):
            for number in range(2 if s == 0 else 1):
                name = f"{word}/{speaker}_nohash_{number}.wav"
                write(root / name, tone(name, length=15000 + 700 * ((w + s) % 4)))
                if split in lists:
                    lists[split].append(name)
    for name, length in NOISES.items():
        write(root / "_background_noise_" / name, tone(name, length=length))
    (root / "_background_noise_" / "README.md").write_text("Noise.")
    (root / "LICENSE").write_text("CC BY 4.0")
    (root / "validation_list.txt").write_text("\n".join(lists["validation"]) + "\n")
    (root / "testing_list.txt").write_text("\n".join(lists["test"]) + "\n")
    return root


@pytest.fixture
def archive(tmp_path):
    return make_archive(tmp_path / "speech_commands_v0.02")


def one_second(samples):
    out = np.zeros(16000, np.int16)
    out[: min(len(samples), 16000)] = samples[:16000]
    return out


def as_set(x, y, user):
    return {
        (int(label), None if who is None else int(who), clip.tobytes())
        for label, who, clip in zip(y, user, x, strict=True)
    }


def expected(root, split, numbers, noise_files):
    """By the rules of tensorflow-datasets: lists, pooling, a second every half second."""
    rows = set()
    for word in WORDS:
        for file in sorted((root / word).iterdir()):
            speaker = file.name[:8]
            if SPEAKERS[speaker] != split:
                continue
            label = CLASSES.index(word) if word in CLASSES else 11
            with wave.open(str(file)) as reader:
                samples = np.frombuffer(reader.readframes(10**6), "<i2")
            rows.add((label, numbers.get(speaker), one_second(samples).tobytes()))
    for name in noise_files:
        samples, start = tone(name, length=NOISES[name]), 0
        while start < NOISES[name] - 16000:
            rows.add((10, -1, samples[start : start + 16000].tobytes()))
            start += 8000
    return rows


def test_the_splits_are_those_of_the_rules(archive):
    made = speech.read_archive(archive)
    # 13 words, three clips of two speakers; 3 cuts of 40,000 samples and 2 of 32,000.
    assert (made.num_train, made.num_test) == (13 * 3 + 3 + 2, 13 + 2)
    assert made.train_x.dtype == np.int16
    assert made.train_x.shape[1:] == (16000,)
    assert made.class_names == tuple(CLASSES)
    numbers = {"00ff00ff": 0, "0a1b2c3d": 1, "1b2c3d4e": 2}  # sorted, the unused one left out
    train = expected(archive, "train", numbers, ["pink_noise.wav", "white_noise.wav"])
    assert as_set(made.train_x, made.train_y, made.train_user) == train
    test = expected(archive, "test", numbers, ["running_tap.wav"])
    assert as_set(made.test_x, made.test_y, made.test_user) == test


def test_the_order_is_fixed(archive, tmp_path):
    again = make_archive(tmp_path / "again")
    assert speech.read_archive(archive).checksum == speech.read_archive(again).checksum


@pytest.mark.parametrize("name", ["test", "speech_commands_test_set_v0.02"])
def test_the_official_test_archive(archive, name):
    for word in CLASSES:
        file = f"{word}/00ff00ff_nohash_0.wav"
        if word == "_silence_":
            file = f"{word}/1037.wav"
        if word == "_unknown_":
            file = f"{word}/backward_00ff00ff_nohash_2.wav.wav"
        write(archive / name / file, tone("official", word))
    made = speech.read_archive(archive)
    assert made.num_train == 13 * 3 + 3 + 2  # the test archive adds nothing to it
    np.testing.assert_array_equal(np.sort(made.test_y), np.arange(12))
    for clip, label, user in zip(made.test_x, made.test_y, made.test_user, strict=True):
        np.testing.assert_array_equal(clip, tone("official", CLASSES[label]))
        assert user == (-1 if label == 10 else 0)


def test_speakers_become_clients(archive):
    made = speech.read_archive(archive)
    clients = partition.by_user(made.train_user).clients
    assert len(clients) == 2
    for client in clients:
        assert len(set(made.train_user[client]) - {-1}) == 1
    assert sum(map(len, clients)) == made.num_train  # silence is dealt out
    features = audio.with_features(made, "log_mel")
    assert features.train_x.shape == (made.num_train, 98, 64, 1)
    np.testing.assert_array_equal(features.test_user, made.test_user)


def test_a_run_by_its_name(archive):
    made = data.load("speech_commands", dir=archive)
    assert made.train_x.shape[1:] == (98, 64, 1)
    raw = data.load("speech_commands", dir=archive, features="raw")
    assert raw.checksum == speech.read_archive(archive).checksum


def test_is_archive(archive, tmp_path):
    assert speech.is_archive(archive)
    assert not speech.is_archive(tmp_path)
    (archive / "testing_list.txt").unlink()
    assert speech.is_archive(str(archive))  # a damaged one: reading it says what is missing


def remove(path):
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    else:
        path.unlink()


def damage(archive, kind):
    clip = archive / "go" / "0a1b2c3d_nohash_0.wav"
    if kind == "no list":
        remove(archive / "testing_list.txt")
    elif kind == "lost clip":
        remove(archive / "cat" / "00ff00ff_nohash_0.wav")
    elif kind == "no speaker":
        clip.rename(archive / "go" / "recording.wav")
    elif kind == "malformed":
        clip.write_bytes(b"RIFF")
    elif kind == "no noise":
        remove(archive / "_background_noise_")
    elif kind == "no running tap":
        remove(archive / "_background_noise_" / "running_tap.wav")
    else:
        words = ["go"] if kind == "missing class" else ["bird", "cat", "zero"]
        for word in words:
            remove(archive / word)
        for name in ("validation_list.txt", "testing_list.txt"):
            lines = (archive / name).read_text().split()
            kept = [line for line in lines if line.split("/")[0] not in words]
            (archive / name).write_text("\n".join(kept))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no list", r"testing_list\.txt: cannot be read; extract"),
        ("lost clip", r"1 clips of the lists are missing, cat/00ff00ff_nohash_0\.wav the first"),
        ("no speaker", r"recording\.wav: the name does not tell the speaker"),
        ("malformed", r"go/0a1b2c3d_nohash_0\.wav: not a readable wav file"),
        ("missing class", r": train: no clip of class go, which comes from the folder go; extract"),
        ("no unknown", r": train: no clip of class _unknown_, .* folders of other words"),
        (
            "no noise",
            r": train: no clip of class _silence_, .* the files in _background_noise_",
        ),
        ("no running tap", r": test: no clip of class _silence_"),
    ],
)
def test_damage(archive, kind, message):
    damage(archive, kind)
    with pytest.raises(DataError, match=message):
        speech.read_archive(archive)


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        speech.read_archive(tmp_path / "nowhere")
