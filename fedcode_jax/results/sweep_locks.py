"""Who may write the folder of a sweep: one process all of it, or several a share each."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from fedcode_jax.errors import ConfigError
from fedcode_jax.results.locking import LOCK, OWNER, FolderLock

_DOOR = ".shares.lock"
"""Held for a moment. It stays: a file that is removed while others wait for it is no lock."""
_PATIENCE = 300.0
"""Seconds to wait at it."""


def hold(folder: Path, share: tuple[int, int] | None) -> FolderLock:
    """Holds a share of a folder for this process, or all of it.

    Shares of one division are held side by side; the whole excludes every share, and shares those
    of another division.

    Args:
      folder: which there is.
      share: its number, from 1, and of how many; None for the whole.

    Returns:
      The lock.

    Raises:
      ConfigError: another process has it, or what it excludes.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     first, second = hold(Path(folder), (1, 2)), hold(Path(folder), (2, 2))
      ...     try:
      ...         hold(Path(folder), None)
      ...     except ConfigError as error:
      ...         print("share 1/2" in str(error))
      ...     first.release()
      ...     second.release()
      True
    """
    if share is None:
        held = FolderLock(folder)
        with _released_on_error(held):
            for other in _shares_in(folder):
                _check_free(folder, _part(other), "it is being run in shares")
        return held
    held = FolderLock(folder, _part(share))
    with _released_on_error(held), short(folder):
        _check_free(folder, "", f"{_part(share)} cannot run beside all of it")
        for other in _shares_in(folder):
            if other[1] != share[1]:
                _check_free(folder, _part(other), f"{_part(share)} is of another division")
    return held


@contextlib.contextmanager
def short(folder: Path) -> Iterator[None]:
    """Holds what the shares of a folder have in common, for a moment; waits until it is free.

    Raises:
      ConfigError: it is not, for minutes.
    """
    import filelock

    lock = filelock.FileLock(folder / _DOOR, is_singleton=False)
    try:
        lock.acquire(timeout=_PATIENCE)
    except filelock.Timeout:
        raise ConfigError(
            f"out: {str(folder / _DOOR)!r} has been held for {_PATIENCE:.0f} s by another share; "
            "see whether one hangs, and start this one again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def is_lock(path: Path) -> bool:
    """Whether a file of a sweep's folder is one of those by which it is held.

    Example:
      >>> is_lock(Path(".share_1_2.lock")), is_lock(Path("results.csv"))
      (True, False)
    """
    return path.name.startswith(".") and path.name.endswith((LOCK, OWNER))


def _part(share: tuple[int, int]) -> str:
    return f"share {share[0]}/{share[1]}"


def _shares_in(folder: Path) -> list[tuple[int, int]]:
    """The shares that somebody holds, or held as it was killed."""
    names = [path.name for path in folder.glob(f".share_*{LOCK}")]
    found = [re.findall(r"\d+", name) for name in names]
    return sorted((int(number), int(of)) for number, of in found)


def _check_free(folder: Path, part: str, why: str) -> None:
    """Checks that nobody holds a part, or the whole."""
    try:
        FolderLock(folder, part).release()
    except ConfigError as error:
        raise ConfigError(f"{error} ({why})") from None


@contextlib.contextmanager
def _released_on_error(held: FolderLock) -> Iterator[None]:
    try:
        yield
    except BaseException:
        held.release()
        raise
