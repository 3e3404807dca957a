"""Augmentation of sound: shifts in time, masks over time and over mel bands."""

import math

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.data.audio import FLOOR
from fedcode_jax.errors import ConfigError


@randomness.standardised
def time_shift(key: jax.Array, x: jax.Array, *, samples: int = 1600, frames: int = 10) -> jax.Array:
    """Shifts each clip in time by up to 100 ms, silence coming in at the end that is left free.

    out[b, t] = x[b, t + d_b], or silence where t + d_b lies outside of the clip, with d_b uniform
    on {-most, ..., most}, each clip by itself. Silence is 0 in a waveform and ln 0.001, what
    `log_mel` makes of it, in a spectrogram: shifted features are those of the shifted waveform,
    but for the frames across the seam.

    Args:
      key: one PRNG key for the batch.
      x: waveforms ``[B, T]``, int16 or floats, or log-mel spectrograms ``[B, T, bands, 1]``,
        floats; raw units.
      samples: largest shift of a waveform, static; 100 ms of 16 kHz.
      frames: largest shift of a spectrogram, static; 100 ms of a hop of 160.

    Returns:
      The same shape and dtype.

    Raises:
      ConfigError: ``x`` is neither, or is not longer than the largest shift.

    Source: P. Warden 2018, https://arxiv.org/abs/1804.03209, whose reference training code shifts
    waveforms by up to 100 ms.

    Example:
      >>> time_shift(jax.random.key(0), jnp.ones((2, 98, 64, 1))).shape
      (2, 98, 64, 1)
    """
    x = jnp.asarray(x)
    waveform = x.ndim == 2 and x.dtype != jnp.uint8
    if not waveform:
        _check_spectrograms("time_shift", x, "waveforms [samples] or ")
    most, fill = (samples, 0) if waveform else (frames, math.log(FLOOR))
    batch, length = x.shape[:2]
    if not 0 <= most < length:
        raise ConfigError(
            f"local.augment: time_shift by up to {most} cannot be used on a length of {length}"
        )
    times = jnp.arange(length) + jax.random.randint(key, (batch, 1), -most, most + 1)
    inside = (times >= 0) & (times < length)
    shifted = x.at[jnp.arange(batch)[:, None], jnp.clip(times, 0, length - 1)].get(
        mode="promise_in_bounds"
    )
    return jnp.where(_over(inside, x), shifted, jnp.asarray(fill, x.dtype))


@randomness.standardised
def spec_augment(
    key: jax.Array,
    x: jax.Array,
    *,
    time_masks: int = 2,
    time: int = 25,
    band_masks: int = 2,
    band: int = 15,
) -> jax.Array:
    """Masks random spans of time and of mel bands in each spectrogram.

    A mask over an axis of length n covers a span of w cells, w uniform on {0, ..., W}, which starts
    at a place uniform on {0, ..., n - w}; W is ``time`` or ``band``. Masked cells become the mean
    of the clip, as in the paper, whose features have mean zero and whose masks are zero. There is
    no time warping, which the paper found to matter least.

    Args:
      key: one PRNG key for the batch.
      x: log-mel spectrograms ``[B, T, bands, 1]``, floats; raw units.
      time_masks: number of masks over time, static.
      time: widest mask over time, in frames, static.
      band_masks: number of masks over bands, static.
      band: widest mask over bands, static.

    Returns:
      The same shape and dtype.

    Raises:
      ConfigError: ``x`` are no spectrograms, or a mask could cover all of an axis.

    Source: D. Park et al. 2019, https://arxiv.org/abs/1904.08779; numbers and widths for clips of
    one second: S. Majumdar and B. Ginsburg 2020, https://arxiv.org/abs/2004.08531.

    Example:
      >>> spec_augment(jax.random.key(0), jnp.ones((2, 98, 64, 1))).shape
      (2, 98, 64, 1)
    """
    x = jnp.asarray(x)
    _check_spectrograms("spec_augment", x)
    batch, length, bands = x.shape[:3]
    if time >= length or band >= bands:
        raise ConfigError(
            f"local.augment: spec_augment masks up to {time} frames and {band} bands; spectrograms "
            f"of {length} x {bands} are too small for it"
        )
    time_key, band_key = jax.random.split(key)
    over_time = _spans(time_key, batch, time_masks, time, length)
    over_bands = _spans(band_key, batch, band_masks, band, bands)
    masked = over_time[:, :, None] | over_bands[:, None, :]
    return jnp.where(_over(masked, x), jnp.mean(x, axis=(1, 2, 3), keepdims=True), x)


def _spans(key: jax.Array, batch: int, masks: int, widest: int, length: int) -> jax.Array:
    """Marks the cells of an axis that a random span covers, bool ``[batch, length]``."""
    width_key, start_key = jax.random.split(key)
    width = jax.random.randint(width_key, (batch, masks, 1), 0, widest + 1)
    start = jax.random.randint(start_key, (batch, masks, 1), 0, length - width + 1)
    cells = jnp.arange(length)
    return jnp.any((start <= cells) & (cells < start + width), axis=1)


def _over(marks: jax.Array, x: jax.Array) -> jax.Array:
    """Marks over the first axes of ``x``, with the other axes added."""
    return marks.reshape(*marks.shape, *(1,) * (x.ndim - marks.ndim))


def _check_spectrograms(name: str, x: jax.Array, or_else: str = "") -> None:
    if x.ndim != 4 or x.shape[3] != 1 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ConfigError(
            f"local.augment: {name} is for {or_else}float spectrograms [time, bands, 1], not for "
            f"{x.dtype}{list(x.shape[1:])}; set it to none, or data.features to log_mel"
        )
