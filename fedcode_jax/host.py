"""What this process may use of the machine: memory that is to be had, cores that are granted.

In a container the machine's own figures are those of all containers together; the limits of this
one are in the files of its control groups, of version 1 or 2.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_NONE = 1 << 60
"""A limit of so many bytes is none: version 1 says so by a number near 2^63."""


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take: the machine's, or what its container's limit leaves.

    What files hold in memory counts as free, for it gives way.

    Args:
      root: of the file system.

    Returns:
      The bytes; None on a system that does not tell.
    """
    found = [_machine_memory(root), *(_left(folder) for folder in _groups(root, "memory"))]
    known = [each for each in found if each is not None]
    return max(0, min(known)) if known else None


def granted_cores(root: Path = Path("/")) -> int | None:
    """Cores that this process may keep busy: those that it may run on, or its container's quota.

    Args:
      root: of the file system.

    Returns:
      At least 1, a part of a core as a whole one; None on a system that does not tell.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:
        return None
    quotas = [quota for folder in _groups(root, "cpu") if (quota := _quota(folder)) is not None]
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas)]))


def _machine_memory(root: Path) -> int | None:
    for line in _lines(root / "proc" / "meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return 1024 * int(value.split()[0])
    return None


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, from its own up to the topmost."""
    mount = root / "sys" / "fs" / "cgroup"
    for line in _lines(root / "proc" / "self" / "cgroup"):
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if names and controller not in names.split(","):
            continue
        top = mount / controller if names else mount
        own = top.joinpath(*(part for part in path.split("/") if part not in ("", "..")))
        while True:
            yield own
            if own == top:
                break
            own = own.parent


def _left(folder: Path) -> int | None:
    """Bytes that the memory limit of a group leaves; None if it has none."""
    for limit_file, used_file, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _number(folder / limit_file), _number(folder / used_file)
        if limit is None or used is None or limit >= _NONE:
            continue
        stats = dict(line.split()[:2] for line in _lines(folder / "memory.stat") if " " in line)
        return limit - used + int(stats.get(cached, 0))
    return None


def _quota(folder: Path) -> float | None:
    """Cores that the quota of a group grants; None if it has none."""
    both = next(iter(_lines(folder / "cpu.max")), "").split()
    if len(both) == 2 and both[0].isdigit():
        return int(both[0]) / int(both[1])
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota is not None and quota > 0 and period else None


def _number(path: Path) -> int | None:
    text = next(iter(_lines(path)), "").strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
