"""Result files: raw samples with the command, versions and device that gave them."""

import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax

from fedcode_jax.results import installed_versions

RESULTS = pathlib.Path(__file__).parent / "results"


def describe(seconds: list[float]) -> str:
    """Median and range, in milliseconds."""
    low, mid, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"{1e3 * mid:10.2f} ms   ({1e3 * low:.2f} to {1e3 * high:.2f})"


def commit() -> str | None:
    """The revision that runs, marked ``+`` if files of it were changed; None outside of git."""
    told = ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.check_output(told, cwd=RESULTS.parent, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _script() -> str:
    """The script that runs, as it lies in this folder; its name alone if it lies elsewhere."""
    script = pathlib.Path(sys.argv[0]).resolve()
    home = RESULTS.parent.resolve()
    return str(script.relative_to(home)) if script.is_relative_to(home) else script.name


def facts() -> dict[str, Any]:
    """The command, the versions and the machine that figures are of."""
    device = jax.devices()[0]
    return {
        "command": shlex.join(["python", f"benchmarks/{_script()}", *sys.argv[1:]]),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": installed_versions(f"{jax.device_count()} x {device.device_kind}"),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
    }


def write(name: str, result: Mapping[str, Any]) -> pathlib.Path:
    """Writes ``results/name.json`` with everything needed to read its figures."""
    record = {**facts(), **result}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
