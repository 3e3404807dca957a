"""Runs a peer's program in its environment, and takes the JSON of its last line."""

import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any, NamedTuple

import environments

HERE = pathlib.Path(__file__).parent


class Peer(NamedTuple):
    """A program, the environment it runs in (None: this one), and options of its own."""

    script: str
    environment: str | None
    options: tuple[str, ...] = ()


PEERS = {
    "ours": Peer("ours.py", None),
    "ours_probe": Peer("ours.py", None, ("--plan", "probe")),
    "reference": Peer("reference_loop.py", None),
    "torch_loop": Peer("torch_loop.py", "torch"),
    "fedjax": Peer("fedjax_loop.py", "fedjax"),
    "pfl": Peer("pfl_loop.py", "pfl"),
    "flower": Peer("flower_loop.py", "flower"),
}


class PeerError(Exception):
    """What a peer said last before it failed."""


def run(
    name: str | Peer,
    task: pathlib.Path,
    *,
    rounds: int,
    threads: int,
    limit: float,
    check: bool = False,
) -> dict[str, Any]:
    """Runs one peer on one task, a whole process.

    Args:
      name: a key of ``PEERS``, or a peer that is not there.
      task: its file.
      rounds: that count.
      threads: cores that the process may use.
      limit: seconds it may take.
      check: whether to leave out the warm-up.

    Returns:
      What the program reported.

    Raises:
      PeerError: it failed, took too long, or has no environment.
    """
    peer = name if isinstance(name, Peer) else PEERS[name]
    python = sys.executable
    if peer.environment is not None:
        error = environments.make(peer.environment)
        if error is not None:
            raise PeerError(f"no environment: {error}")
        python = str(environments.python_of(peer.environment))
    command = [python, str(HERE / peer.script), str(task), *peer.options]
    command += ["--rounds", str(rounds), "--threads", str(threads), *["--check"] * check]
    # A session of its own, so that whatever a peer starts ends with it.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise PeerError(f"over the limit of {limit:g} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise PeerError(_last_line(errors) or f"ended with {process.returncode}, silently")
    try:
        return json.loads(_last_line(output))
    except json.JSONDecodeError:
        raise PeerError(f"its last line is no JSON: {_last_line(output)[:80]!r}") from None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
