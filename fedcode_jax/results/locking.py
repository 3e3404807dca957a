"""A folder is written by one process at a time: a lock that says who has it."""

import json
import os
import socket
from pathlib import Path
from typing import Any

from fedcode_jax.errors import ConfigError

LOCK, OWNER = ".lock", ".running.json"


class FolderLock:
    """Holds a folder for this process until it is released, or the process ends.

    Args:
      folder: which there is.

    Raises:
      ConfigError: another process has it, here or on another machine that shares the folder.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     held = FolderLock(folder)
      ...     try:
      ...         FolderLock(folder)
      ...     except ConfigError as error:
      ...         print("is being written" in str(error))
      ...     held.release()
      True
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        import filelock

        self._folder = Path(folder)
        self._lock = filelock.FileLock(self._folder / LOCK, is_singleton=False)
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise ConfigError(
                f"out: {str(self._folder)!r} is being written by {_owner(self._folder)}; wait for "
                "it, or choose another --out"
            ) from None
        try:
            about = {"host": socket.gethostname(), "pid": os.getpid()}
            (self._folder / OWNER).write_text(json.dumps(about), encoding="utf-8")
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Lets others have the folder; nothing happens the second time."""
        if self._lock.is_locked:
            for name in (OWNER, LOCK):
                (self._folder / name).unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *error: Any) -> None:
        self.release()


def check_unheld(folder: str | os.PathLike[str]) -> None:
    """Checks that no other process writes a folder, which need not exist.

    Raises:
      ConfigError: one does.
    """
    if (Path(folder) / LOCK).exists():
        FolderLock(folder).release()


def _owner(folder: Path) -> str:
    try:
        found = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
