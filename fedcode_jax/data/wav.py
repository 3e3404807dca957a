"""Sound files: 16-bit PCM, one channel, read with the standard library."""

import io
import os
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedcode_jax.errors import DataError


def read_wav(file: str | os.PathLike[str], *, sample_rate: int = 16_000) -> NDArray[np.int16]:
    """Reads a wav file.

    Args:
      file: 16-bit PCM with one channel.
      sample_rate: samples a second that the file must have.

    Returns:
      The samples, int16 ``[T]``.

    Raises:
      DataError: the file is missing, is no such wav file, or is cut short.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with wave.open(f"{folder}/a.wav", "wb") as out:
      ...         out.setparams((1, 2, 16000, 0, "NONE", ""))
      ...         out.writeframes(np.array([1, -2, 3], "<i2").tobytes())
      ...     read_wav(f"{folder}/a.wav").tolist()
      [1, -2, 3]
    """
    convert = f"convert it to 16-bit PCM, one channel, {sample_rate} samples a second"
    try:
        # All bytes at once: quicker than piece by piece, and a forged length allocates nothing.
        data = Path(file).read_bytes()
        with wave.open(io.BytesIO(data)) as reader:
            channels, width, rate, frames, *_ = reader.getparams()
            content = reader.readframes(frames)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    # What wave raises on a damaged file: a bare RuntimeError where a chunk ends beyond its parent.
    except (wave.Error, EOFError, RuntimeError) as error:
        reason = str(error) or "it ends too early"
        raise DataError(f"{file}: not a readable wav file ({reason}); {convert}") from error
    if channels != 1:
        raise DataError(f"{file}: {channels} channels; {convert}")
    if width != 2:
        raise DataError(f"{file}: {8 * width} bits a sample; {convert}")
    if rate != sample_rate:
        raise DataError(f"{file}: {rate} samples a second; resample: {convert}")
    if len(content) != 2 * frames:
        raise DataError(
            f"{file}: cut short: {len(content) // 2} of {frames} samples; copy it again"
        )
    if not content:
        raise DataError(f"{file}: holds no samples; copy it again, or remove it")
    return np.frombuffer(content, "<i2").astype(np.int16, copy=False)
