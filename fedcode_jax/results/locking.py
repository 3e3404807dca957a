"""A folder is written by one process at a time: a lock that says who has it."""

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

from fedcode_jax.errors import ConfigError

LOCK, OWNER = ".lock", ".running.json"


class FolderLock:
    """Holds a folder, or a part of it, for this process until it is released or the process ends.

    Args:
      folder: which there is.
      part: a name for what is held where others may hold other parts, such as ``share 1/4``;
        empty for the whole. Of parts and the whole, this lock alone excludes nothing.

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

    def __init__(self, folder: str | os.PathLike[str], part: str = "") -> None:
        import filelock

        start = "." + re.sub(r"\W", "_", part) if part else ""
        self._file, self._owner = (Path(folder) / f"{start}{name}" for name in (LOCK, OWNER))
        self._lock = filelock.FileLock(self._file, is_singleton=False)
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            what = f"{str(folder)!r}{f', {part},' if part else ''}"
            raise ConfigError(
                f"out: {what} is being written by {_named_in(self._owner)}; wait for it, or "
                "choose another --out"
            ) from None
        try:
            about = {"host": socket.gethostname(), "pid": os.getpid()}
            self._owner.write_text(json.dumps(about), encoding="utf-8")
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Lets others have the folder; nothing happens the second time."""
        if self._lock.is_locked:
            for file in (self._owner, self._file):
                file.unlink(missing_ok=True)
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


def _named_in(owner: Path) -> str:
    try:
        found = json.loads(owner.read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
