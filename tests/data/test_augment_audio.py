"""Shifts and masks are read off the output, and held against a plain NumPy restatement."""

import functools

import jax
import numpy as np
import pytest

from fedcode_jax.data import log_mel, spec_augment, time_shift

SILENCE = np.float32(np.log(0.001))
shift = jax.jit(time_shift)
mask = jax.jit(spec_augment)


def spectrograms(batch, length=98, bands=64):
    rng = np.random.default_rng(batch)
    return rng.normal(-3, 2, (batch, length, bands, 1)).astype(np.float32)


def moved(clip, by, silence):
    """The clip from place ``by`` on, one cell after the other."""
    out = np.full_like(clip, silence)
    for t in range(len(clip)):
        if 0 <= t + by < len(clip):
            out[t] = clip[t + by]
    return out


def shift_of(clip, result):
    """The shift of a spectrogram, told by its middle frame."""
    return next(by for by in range(-10, 11) if (clip[49 + by] == result[49]).all())


@pytest.mark.parametrize(
    ("x", "most", "silence"),
    [
        (spectrograms(500), 10, SILENCE),
        (np.arange(1, 16001, dtype=np.int16)[None].repeat(60, 0), 1600, 0),
        (np.linspace(0.1, 1, 16000, dtype=np.float32)[None].repeat(60, 0), 1600, 0),
    ],
    ids=["spectrograms", "int16", "float"],
)
def test_time_shift(x, most, silence):
    out = np.asarray(shift(jax.random.key(1), x))
    assert out.dtype == x.dtype
    middle = x.shape[1] // 2
    seen = []
    for clip, result in zip(x, out, strict=True):
        if x.ndim == 2:  # a ramp tells its shift by the value in the middle
            by = int(np.abs(clip - result[middle]).argmin()) - middle
        else:
            by = next(
                d for d in range(-most, most + 1) if (clip[middle + d] == result[middle]).all()
            )
        np.testing.assert_array_equal(result, moved(clip, by, silence))
        seen.append(by)
    assert max(map(abs, seen)) <= most
    if x.ndim == 4:
        counts = np.bincount(np.array(seen) + most, minlength=2 * most + 1)
        assert (counts > 0).all()
        expected = len(x) / (2 * most + 1)
        assert ((counts - expected) ** 2 / expected).sum() < 52  # 20 d.o.f., p = 1e-4
    else:
        assert min(seen) < -most // 2 < most // 2 < max(seen)


def test_shifted_features_are_those_of_the_shifted_waveform():
    wave = (0.3 * np.random.default_rng(0).normal(size=(64, 16000))).clip(-1, 1).astype(np.float32)
    x = np.asarray(log_mel(wave))[..., None]
    out = np.asarray(shift(jax.random.key(2), x))
    for clip, sound, result in zip(x, wave, out, strict=True):
        by = shift_of(clip, result)
        again = np.asarray(log_mel(moved(sound, 160 * by, 0)))
        # A window of 400 every 160: up to three frames hold both sound and silence.
        differ = np.flatnonzero(np.abs(again - result[..., 0]).max(axis=1) > 1e-4)
        assert len(differ) <= 3
        edge = 98 - by if by > 0 else -by
        assert all(abs(frame - edge) <= 3 for frame in differ)


def read_masks(x, out):
    """Which frames and which bands are masked in each clip, from the output alone."""
    masked = (out != x)[..., 0]
    return masked.all(axis=2), masked.all(axis=1), masked


def test_masked_cells_are_whole_frames_and_bands_of_the_mean():
    x = spectrograms(400)
    out = np.asarray(mask(jax.random.key(3), x))
    frames, bands, masked = read_masks(x, out)
    np.testing.assert_array_equal(masked, frames[:, :, None] | bands[:, None, :])
    mean = x.mean(axis=(1, 2, 3), dtype=np.float64)
    filled = np.broadcast_to(mean[:, None, None], masked.shape)[masked]
    np.testing.assert_allclose(out[..., 0][masked], filled, atol=1e-5)
    assert frames.sum(axis=1).max() <= 50
    assert bands.sum(axis=1).max() <= 30
    starts = np.diff(np.pad(frames, ((0, 0), (1, 0))).astype(int), axis=1) == 1
    assert starts.sum(axis=1).max() == 2  # two spans, or fewer where they meet or are empty


def test_masks_over_time_and_over_bands_are_drawn_apart():
    x = spectrograms(50, length=64)
    widths = {"time_masks": 1, "time": 15, "band_masks": 1, "band": 15}
    found = np.asarray(spec_augment(jax.random.key(0), x, **widths))[..., 0] != x[..., 0]
    frames, bands = found.all(axis=2), found.all(axis=1)
    assert (frames != bands).any(axis=1).mean() > 0.8


@pytest.mark.parametrize(("axis", "length", "widest"), [(0, 98, 25), (1, 64, 15)])
def test_widths_and_places_of_one_mask(axis, length, widest):
    n = 4000
    x = spectrograms(n, 98 if axis == 0 else 4, 4 if axis == 0 else 64)
    options = {"time_masks": 1, "band_masks": 0, "time": 25, "band": 3}
    if axis == 1:
        options = {"time_masks": 0, "band_masks": 1, "time": 3, "band": 15}
    one = jax.jit(functools.partial(spec_augment, **options))
    covered = read_masks(x, np.asarray(one(jax.random.key(4), x)))[axis]
    widths = covered.sum(axis=1)
    counts = np.bincount(widths, minlength=widest + 1)
    expected = n / (widest + 1)
    assert len(counts) == widest + 1
    assert ((counts - expected) ** 2 / expected).sum() < 3 * widest + 15  # p < 1e-4
    # The exact share of each cell: the mean over widths of the places that cover it.
    share = np.zeros(length)
    for width in range(widest + 1):
        for start in range(length - width + 1):
            share[start : start + width] += 1 / (widest + 1) / (length - width + 1)
    error = np.abs(covered.mean(axis=0) - share)
    assert (error < 4.5 * np.sqrt(share * (1 - share) / n)).all()
    assert covered[:, [0, -1]].any(axis=0).all()


@pytest.mark.parametrize("augmentation", [shift, mask])
def test_clips_and_keys_differ_and_a_key_repeats(augmentation):
    x = np.repeat(spectrograms(1), 64, axis=0)
    out = np.asarray(augmentation(jax.random.key(0), x))
    distinct = len(np.unique(out.reshape(64, -1), axis=0))
    assert distinct >= (15 if augmentation is shift else 55)
    np.testing.assert_array_equal(out, augmentation(jax.random.key(0), x))
    assert not np.array_equal(out, augmentation(jax.random.key(1), x))


@pytest.mark.parametrize("augmentation", [time_shift, spec_augment])
def test_vmap_over_clients_is_a_loop_over_clients(augmentation):
    # Keys as in training: folded by client and then by step.
    def of_client(client, x):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), client), 3)
        return augmentation(key, x)

    x = np.broadcast_to(spectrograms(8), (4, 8, 98, 64, 1))
    together = np.asarray(jax.jit(jax.vmap(of_client))(np.arange(4), x))
    looped = jax.jit(lambda: jax.lax.map(lambda both: of_client(*both), (np.arange(4), x)))()
    np.testing.assert_array_equal(together, looped)
    assert len(np.unique(together.reshape(4, -1), axis=0)) == 4
