import struct
import wave

import numpy as np
import pytest

from fedcode_jax.data.wav import read_wav
from fedcode_jax.errors import DataError

SAMPLES = np.array([0, 1, -1, 32767, -32768, 300], np.int16)


def riff(samples=SAMPLES, *, channels=1, width=2, rate=16000, kind=1, extra=b"", claimed=None):
    """A wav file put together by hand."""
    content = samples.astype("<i2").tobytes()
    form = struct.pack(
        "<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width
    )
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + extra
    chunks += b"data" + struct.pack("<I", len(content) if claimed is None else claimed) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_samples_are_those_of_the_bytes(tmp_path):
    file = tmp_path / "a.wav"
    # A chunk of something else before the samples, as sound editors leave.
    for content in (riff(), riff(extra=b"LIST" + struct.pack("<I", 4) + b"INFO")):
        file.write_bytes(content)
        samples = read_wav(file)
        assert samples.dtype == np.int16
        np.testing.assert_array_equal(samples, SAMPLES)
    file.write_bytes(riff(rate=8000))
    np.testing.assert_array_equal(read_wav(str(file), sample_rate=8000), SAMPLES)


def test_what_the_standard_library_wrote(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(SAMPLES.astype("<i2").tobytes())
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav"), SAMPLES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable wav file .*16-bit PCM, one channel, 16000"),
        (b"not sound at all, but text", "not a readable wav file"),
        (riff()[:20], "not a readable wav file"),
        (riff()[:36], "not a readable wav file"),
        (riff(kind=3), "not a readable wav file .*unknown format: 3"),
        (riff(channels=2), "2 channels; convert"),
        (riff(width=1), "8 bits a sample; convert"),
        (riff(width=4), "32 bits a sample; convert"),
        (riff(rate=44100), "44100 samples a second; resample.* 16000 samples a second"),
        (riff()[:-4], "cut short: 4 of 6 samples; copy it again"),
        (riff()[:-3], "cut short"),
        (riff(claimed=2**31 - 2), "cut short: 6 of 1073741823 samples"),
        (riff(np.zeros(0, np.int16)), "holds no samples"),
        (riff(channels=0), "not a readable wav file"),
    ],
)
def test_what_cannot_be_read(tmp_path, content, message):
    file = tmp_path / "bad.wav"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.wav: .*" + message):
        read_wav(file)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.wav: cannot be read: No such file"):
        read_wav(tmp_path / "none.wav")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_wav(tmp_path)


def test_random_damage_is_an_error_or_samples(tmp_path):
    file = tmp_path / "a.wav"
    good, rng = riff(), np.random.default_rng(0)
    errors = 0
    for _ in range(2000):
        content = bytearray(good)
        for place in rng.integers(0, len(good), rng.integers(1, 4)):
            content[place] = rng.integers(256)
        file.write_bytes(content[: rng.integers(len(good) // 2, len(good) + 1)])
        try:
            assert len(read_wav(file)) <= len(good)
        except DataError:
            errors += 1
    assert errors > 1000
