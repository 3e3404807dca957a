"""The front end against a restatement in float64, against known answers, and inside `load`."""

import numpy as np
import pytest

from fedcode_jax import data
from fedcode_jax.data import audio, from_arrays, log_mel
from fedcode_jax.errors import ConfigError, DataError

RATE, SILENCE = 16_000, np.log(0.001)
TIMES = np.arange(RATE) / RATE
RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 2000, (5, RATE)).astype(np.int16)


def restated(wave, window=400, hop=160, fft=512, bands=64, low=125, high=7500, rate=RATE):
    """One clip in float64, frame by frame and band by band, with an explicit Fourier sum."""
    wave = wave / 32768 if wave.dtype == np.int16 else wave.astype(np.float64)
    turns = np.outer(np.arange(fft // 2 + 1), np.arange(window)) / fft
    fourier = np.exp(-2j * np.pi * turns) * np.sin(np.pi * np.arange(window) / window) ** 2
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    edges = [mel(low) + k * (mel(high) - mel(low)) / (bands + 1) for k in range(bands + 2)]
    frequencies = mel(np.arange(fft // 2 + 1) * rate / fft)
    out = []
    for first in range(0, len(wave) - window + 1, hop):
        magnitude = np.abs(fourier @ wave[first : first + window])
        out.append(
            [np.interp(frequencies, edges[k : k + 3], [0, 1, 0]) @ magnitude for k in range(bands)]
        )
    return np.log(np.array(out) + 0.001)


@pytest.mark.parametrize(
    ("wave", "tolerance"),
    [
        (NOISE[0], 1e-5),
        (RNG.uniform(-1, 1, RATE).astype(np.float32), 1e-5),
        (RNG.integers(-2, 3, RATE).astype(np.int16), 1e-5),
        # Bands beside a full-scale tone hold its rounding error in float32: 1e-7 of 100, by 0.001.
        ((32767 * np.sin(2 * np.pi * 1000 * TIMES)).astype(np.int16), 5e-3),
    ],
    ids=["noise", "float", "faint", "tone"],
)
def test_against_float64(wave, tolerance):
    out = log_mel(wave)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, restated(wave), atol=tolerance)


def test_every_parameter_is_used():
    wave = NOISE[0, :4000]
    out = log_mel(
        wave, sample_rate=8000, window=200, hop=50, fft=256, bands=20, low=300.0, high=3400.0
    )
    again = restated(wave, window=200, hop=50, fft=256, bands=20, low=300, high=3400, rate=8000)
    assert out.shape == (77, 20)
    np.testing.assert_allclose(out, again, atol=1e-5)
    quiet = np.zeros(400, np.int16)
    np.testing.assert_allclose(log_mel(quiet, floor=0.5), np.log(0.5), rtol=1e-6)


def test_known_answers():
    np.testing.assert_allclose(log_mel(np.zeros(RATE, np.int16)), SILENCE, rtol=1e-6)
    low, high = (1127 * np.log(1 + hertz / 700) for hertz in (125, 7500))
    for band in (20, 41, 63):  # a tone at the peak of a band is loudest there
        hertz = 700 * (np.exp((low + (band + 1) * (high - low) / 65) / 1127) - 1)
        tone = 0.5 * np.sin(2 * np.pi * hertz * TIMES)
        assert (np.asarray(log_mel(tone.astype(np.float32))).argmax(axis=1) == band).all()
    # Twice the amplitude adds ln 2 where the floor is far below.
    loud = np.asarray(log_mel((NOISE[0] // 2) * np.int16(2)))
    np.testing.assert_allclose(loud - log_mel(NOISE[0] // 2), np.log(2), atol=2e-2)


def test_a_batch_is_its_clips_and_time_is_local():
    batch = np.asarray(log_mel(NOISE[:4].reshape(2, 2, RATE)))
    assert batch.shape == (2, 2, 98, 64)
    np.testing.assert_allclose(batch[1, 0], log_mel(NOISE[2]), atol=1e-5)
    late = np.where(np.arange(RATE) < 8000, np.int16(0), NOISE[0])
    frames = np.asarray(log_mel(late))
    np.testing.assert_allclose(frames[:48], SILENCE, rtol=1e-6)  # the last ends at sample 7,920
    assert (frames[49:] > SILENCE + 1).all()


def test_quiet_bands_do_not_depend_on_the_matrix_unit():
    # On a GPU, products would else be rounded to 10 bits.
    import jax

    program = str(jax.make_jaxpr(log_mel)(NOISE[:2]))
    assert "precision=(Precision.HIGHEST, Precision.HIGHEST)" in program


@pytest.mark.parametrize(
    ("wave", "options", "error", "message"),
    [
        (np.zeros(399, np.int16), {}, DataError, r"shape \(399,\); at least 400 samples"),
        (np.zeros(16000, np.uint8), {}, DataError, "uint8; int16 or floats"),
        (np.zeros(16000, np.int32), {}, DataError, "int32; int16 or floats"),
        (NOISE[0], {"fft": 256}, ConfigError, "window 400, .* fft 256"),
        (NOISE[0], {"hop": 0}, ConfigError, "hop 0"),
        (NOISE[0], {"floor": 0.0}, ConfigError, "floor 0.0"),
        (NOISE[0], {"high": 9000.0}, ConfigError, "to 9000.0 Hz; at 16000"),
        (NOISE[0], {"bands": 128}, ConfigError, "falls into band 0 of 128"),
    ],
)
def test_log_mel_errors(wave, options, error, message):
    with pytest.raises(error, match=message):
        log_mel(wave, **options)


def waveforms(dtype=np.int16, clips=5):
    x = NOISE[:clips, :1200]
    return x if dtype == np.int16 else (x / 32768).astype(dtype)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sound.npz"
    np.savez(
        path,
        train_x=waveforms(),
        train_y=[0, 1, 1, 0, 1],
        test_x=waveforms(clips=2),
        test_y=[1, 0],
        train_user=["ann", "bob", "ann", "eve", "bob"],
        class_names=["hush", "noise"],
    )
    return path


@pytest.mark.parametrize("clips_at_once", [2, 64])
def test_waveforms_of_a_file_become_features(file, clips_at_once, monkeypatch):
    monkeypatch.setattr(audio, "_CLIPS_AT_ONCE", clips_at_once)
    raw = data.load("npz", path=file)
    made = data.load("npz", path=file, features="log_mel")
    assert raw.train_x.dtype == np.int16
    assert made.train_x.dtype == np.float32
    assert made.train_x.shape == (5, 6, 64, 1)
    assert made.test_x.shape == (2, 6, 64, 1)
    for clip, features in zip(waveforms(), made.train_x, strict=True):
        np.testing.assert_allclose(features[..., 0], restated(clip), atol=1e-5)
    np.testing.assert_allclose(made.test_x, made.train_x[:2], atol=1e-6)
    np.testing.assert_array_equal(made.train_user, raw.train_user)
    np.testing.assert_array_equal(made.train_y, raw.train_y)
    assert made.class_names == ("hush", "noise")
    assert made.checksum != raw.checksum
    with pytest.raises(ValueError, match="read-only"):
        made.train_x[0] = 0


def test_floats_are_the_same_sound():
    y = [0, 1, 0, 1, 0]
    ints = from_arrays("i", waveforms(), y, waveforms(), y)
    floats = from_arrays("f", waveforms(np.float32), y, waveforms(np.float32), y)
    np.testing.assert_allclose(
        audio.with_features(ints, "log_mel").train_x,
        audio.with_features(floats, "log_mel").train_x,
        atol=1e-5,
    )


def test_what_is_no_waveform(file):
    with pytest.raises(ConfigError, match=r"data\.features: log_mel is .* uint8\[8, 8, 1\]"):
        data.load("digits", features="log_mel")
    with pytest.raises(ConfigError, match=r"data\.features: unknown name 'mfcc'.*log_mel, raw"):
        data.load("digits", features="mfcc")
    x, y = waveforms(np.float32).copy(), [0, 1, 0, 1, 0]
    x[3, 7] = -1.5
    with pytest.raises(DataError, match=r"loud: train_x: the waveform in row 3 reaches 1\.5"):
        audio.with_features(from_arrays("loud", x, y, x, y), "log_mel")
    short = x[:, :300]
    with pytest.raises(DataError, match=r"at least 400 samples"):
        audio.with_features(from_arrays("short", short, y, short, y), "log_mel")
