"""Writing files so that a reader, at any moment, finds something whole."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedcode_jax.errors import CheckpointError, ConfigError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part.

    Args:
      path: the file, in an existing folder.
      content: all of it; a text is written in UTF-8.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: str | os.PathLike[str], setting: str = "out") -> None:
    """Checks, before anything is computed, that files can be written to a folder.

    Args:
      folder: which need not exist; nothing is made.
      setting: that names it, for the error.

    Raises:
      ConfigError: it is a file, or files cannot be written to it, or to the folder to make it in.
    """
    there = Path(folder)
    while not there.exists() and there != there.parent:
        there = there.parent
    reason: str | None = f"{there} is a file"
    if there.is_dir():
        try:
            with tempfile.TemporaryFile(dir=there):
                reason = None
        except OSError as error:
            reason = error.strerror
    if reason is not None:
        raise ConfigError(
            f"{setting}: {os.fspath(folder)!r} cannot be written ({reason}); choose another "
            f"--{setting}"
        )


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Turns an error of the system into ours, which names the file."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: array scalars as numbers, NaN and infinity as null."""
    return json.dumps(strict(value), allow_nan=False, indent=indent, ensure_ascii=False)


def lines(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as ``metrics.jsonl`` holds them, one a line."""
    return "".join(to_json(record) + "\n" for record in records)


def strict(value: Any) -> Any:
    """The value in JSON's own types: array scalars as numbers, non-finite numbers as None.

    Example:
      >>> strict({"loss": float("nan"), "sizes": (1, 2)})
      {'loss': None, 'sizes': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(key): strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    if hasattr(value, "tolist"):
        return strict(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
