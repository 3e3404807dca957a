"""Log-mel features of waveforms: one batched program, run once before training."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from fedcode_jax import randomness
from fedcode_jax.data.dataset import Dataset
from fedcode_jax.errors import ConfigError, DataError

SAMPLE_RATE = 16_000
"""Samples a second of every waveform that a data set holds."""
FLOOR = 0.001
"""Added to a band before the logarithm; digital silence becomes ln 0.001 = -6.91."""

_CLIPS_AT_ONCE = 64  # 26 MB for clips of one second; more is slower on a CPU
_FULL_SCALE = 32768  # int16


@randomness.standardised
def log_mel(
    waveforms: ArrayLike,
    *,
    sample_rate: int = SAMPLE_RATE,
    window: int = 400,
    hop: int = 160,
    fft: int = 512,
    bands: int = 64,
    low: float = 125.0,
    high: float = 7500.0,
    floor: float = FLOOR,
) -> jax.Array:
    """Logarithm of the energy of mel bands over time.

    Frame t holds the samples t hop .. t hop + window - 1, times a periodic Hann window; without
    padding, T samples give 1 + (T - window) // hop frames. With S[t, f] the magnitude of the
    discrete Fourier transform of frame t,

        out[t, k] = ln(sum_f W[f, k] S[t, f] + floor),

    where W[., k] is a triangle on the scale mel(f) = 1127 ln(1 + f / 700), with its peak of 1 at
    the k-th of ``bands`` points between mel(low) and mel(high) in equal distances, and its feet at
    the two neighbouring points. The defaults are those of YAMNet.

    Args:
      waveforms: ``[..., T]``: int16, or floats in [-1, 1].
      sample_rate: samples a second.
      window: samples a frame.
      hop: samples from one frame to the next.
      fft: length of the transform, at least ``window``; frames are filled up with zeros.
      bands: number of mel bands.
      low: lower foot of the first band, in Hz.
      high: upper foot of the last band, in Hz.
      floor: keeps the logarithm finite.

    Returns:
      float32 ``[..., frames, bands]``.

    Raises:
      ConfigError: parameters that fit no transform, or a band so narrow that no frequency of the
        transform falls into it.
      DataError: ``waveforms`` are of another dtype, or shorter than a window.

    Source: S. Hershey et al. 2017, https://arxiv.org/abs/1609.09430, section 3.1; the parameters
    of https://github.com/tensorflow/models/tree/master/research/audioset/yamnet.

    Example:
      >>> log_mel(np.zeros((2, 16000), np.int16)).shape
      (2, 98, 64)
    """
    waveforms = jnp.asarray(waveforms)
    if waveforms.dtype != jnp.int16 and not jnp.issubdtype(waveforms.dtype, jnp.floating):
        raise DataError(f"waveforms: {waveforms.dtype}; int16 or floats in [-1, 1] are needed")
    if not (1 <= window <= fft and hop >= 1 and bands >= 1 and floor > 0):
        raise ConfigError(
            f"log_mel: window {window}, hop {hop}, fft {fft}, bands {bands}, floor {floor}; "
            "1 <= window <= fft, hop >= 1, bands >= 1 and floor > 0 are needed"
        )
    if not 0 <= low < high <= sample_rate / 2:
        raise ConfigError(
            f"log_mel: bands from {low} to {high} Hz; at {sample_rate} samples a second, "
            f"0 <= low < high <= {sample_rate / 2} is needed"
        )
    if waveforms.ndim < 1 or waveforms.shape[-1] < window:
        raise DataError(
            f"waveforms: shape {waveforms.shape}; at least {window} samples each are needed, one "
            "window of log_mel"
        )
    weights = _mel_weights(sample_rate, fft, bands, low, high)
    return _log_mel(waveforms, weights, window=window, hop=hop, fft=fft, floor=floor)


@functools.partial(jax.jit, static_argnames=("window", "hop", "fft", "floor"))
def _log_mel(
    waveforms: jax.Array, weights: jax.Array, *, window: int, hop: int, fft: int, floor: float
) -> jax.Array:
    scale = 1 / _FULL_SCALE if waveforms.dtype == jnp.int16 else 1.0
    starts = jnp.arange(0, waveforms.shape[-1] - window + 1, hop)
    frames = waveforms[..., starts[:, None] + jnp.arange(window)].astype(jnp.float32) * scale
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitude = jnp.abs(jnp.fft.rfft(frames * hann.astype(np.float32), fft))
    # Products of 10-bit mantissas, a GPU's default, would show in the logarithm of quiet bands.
    return jnp.log(jnp.matmul(magnitude, weights, precision="highest") + floor)


@functools.lru_cache(maxsize=4)
def _mel_weights(
    sample_rate: int, fft: int, bands: int, low: float, high: float
) -> NDArray[np.float32]:
    """Weight of each frequency of the transform in each band, ``[fft // 2 + 1, bands]``."""

    def mel(hertz: ArrayLike) -> NDArray[np.float64]:
        return 1127 * np.log1p(np.asarray(hertz, np.float64) / 700)

    bins = mel(np.arange(fft // 2 + 1) * sample_rate / fft)[:, None]
    points = np.linspace(mel(low), mel(high), bands + 2)
    rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins) / (points[2:] - points[1:-1])
    weights = np.maximum(np.minimum(rising, falling), 0)
    empty = np.flatnonzero(weights.sum(axis=0) == 0)
    if len(empty):
        raise ConfigError(
            f"log_mel: bands: no frequency of a transform of {fft} samples falls into band "
            f"{empty[0]} of {bands}; use fewer bands or a longer fft"
        )
    return weights.astype(np.float32)


def with_features(dataset: Dataset, features: str) -> Dataset:
    """Turns the samples of a data set into what the model is to see.

    ``raw`` leaves them as they are. ``log_mel`` takes waveforms of 16,000 samples a second and
    computes `log_mel` of each once, in batches on the device; users and classes stay.

    Args:
      dataset: with samples ``[T]``, int16 or float32 in [-1, 1], for ``log_mel``.
      features: ``raw`` or ``log_mel``.

    Returns:
      A data set of float32 ``[frames, 64, 1]``, time and mel band, for ``log_mel``.

    Raises:
      ConfigError: ``log_mel`` of samples that are no waveforms, or an unknown name.
      DataError: float waveforms outside of [-1, 1].

    Example:
      >>> from fedcode_jax.data import from_arrays
      >>> x = np.zeros((3, 16000), np.int16)
      >>> data = with_features(from_arrays("hush", x, [0, 1, 2], x, [0, 1, 2]), "log_mel")
      >>> data.train_x.shape, round(float(data.train_x.max()), 2)
      ((3, 98, 64, 1), -6.91)
    """
    if features == "raw":
        return dataset
    if features != "log_mel":
        raise ConfigError(f"data.features: unknown name {features!r}. Known: log_mel, raw")
    if len(dataset.input_shape) != 1 or dataset.train_x.dtype == np.uint8:
        raise ConfigError(
            "data.features: log_mel is for waveforms, int16 or float32 [samples], but a sample of "
            f"{dataset.name} is {dataset.train_x.dtype}{list(dataset.input_shape)}; set it to raw"
        )
    return dataclasses.replace(
        dataset,
        train_x=_in_batches(dataset.train_x, f"{dataset.name}: train_x"),
        test_x=_in_batches(dataset.test_x, f"{dataset.name}: test_x"),
    )


def _in_batches(waveforms: NDArray, source: str) -> NDArray[np.float32]:
    """Read-only ``[N, frames, bands, 1]``; all batches have one shape, to compile once."""
    size = min(_CLIPS_AT_ONCE, len(waveforms))
    shape = jax.eval_shape(log_mel, jax.ShapeDtypeStruct(waveforms.shape, waveforms.dtype)).shape
    out = np.empty((*shape, 1), np.float32)
    for first in range(0, len(waveforms), size):
        batch = waveforms[first : first + size]
        if batch.dtype != np.int16 and np.abs(batch).max() > 1:
            peaks = np.abs(batch).max(axis=1)
            raise DataError(
                f"{source}: the waveform in row {first + int(peaks.argmax())} reaches "
                f"{peaks.max():.3g}; give int16, or floats in [-1, 1]"
            )
        padded = np.pad(batch, ((0, size - len(batch)), (0, 0)))
        out[first : first + size, ..., 0] = log_mel(padded)[: len(batch)]
    out.flags.writeable = False
    return out
