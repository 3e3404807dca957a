"""How the processes of one run learn at once that one of them has ended, and why.

Each is connected to the first one beside what JAX does, whose own notice takes a minute or more and
is an abort. A connection that closes without a word tells that its process was killed.
"""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

from fedcode_jax.errors import ElsewhereError, FedcodeError
from fedcode_jax.names import one_line
from fedcode_jax.simulation import processes

_GRACE = 2.0  # seconds that a process has to end by itself when another one has failed
_PATIENCE = 5.0  # seconds that the first one, whom JAX's service ends with, waits for the others
_KEPT_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Lifeline:
    """The connections of this process; every process of a run makes one at the same place."""

    def __init__(self, host: str | None = None) -> None:
        """Connects all others with the first one.

        Args:
          host: where the first one can be reached; None for its host's name.
        """
        self._number = processes.number()
        self._reason = ""
        self._heard, self._leaving = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._peers: dict[int, socket.socket] = {}
        listener, about = None, ""
        if self._number == 0:
            listener = socket.create_server(("", 0))
            port, token = listener.getsockname()[1], secrets.token_hex(16)
            about = json.dumps([host or socket.gethostname(), port, token])
        name, port, token = json.loads(processes.text_from_first(about))
        if listener is not None:
            self._start(self._accept, listener, token)
        else:
            self._reach(name, port, token)

    @contextlib.contextmanager
    def watching(self, debug: bool = False) -> Iterator[None]:
        """A block after which this process ends; if by an error, it tells the others and ends here.

        Args:
          debug: whether to show the traceback of an error that a user can cause.
        """
        try:
            try:
                yield
            except FedcodeError:
                raise
            except Exception as error:  # its own, or of JAX that another one is gone
                if self._heard.wait(_GRACE / 2):
                    raise ElsewhereError(self._reason) from error
                raise
        except BaseException as error:
            self._end(error, debug)
        self._leave("")

    def _end(self, error: BaseException, debug: bool) -> None:
        """Ends the process without waiting for others, as JAX would."""
        known, stopped = isinstance(error, FedcodeError), isinstance(error, KeyboardInterrupt)
        if stopped:
            print("fedcode: interrupted", file=sys.stderr)
        elif debug or not known:
            traceback.print_exception(error)
        if known:
            print(f"fedcode: error: {error}", file=sys.stderr)
        elsewhere = isinstance(error, ElsewhereError)
        self._leave("" if elsewhere else f"process {self._number} failed: {one_line(error)}")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130 if stopped else 2 if known else 1)

    def _leave(self, failure: str) -> None:
        """Says goodbye; the first process, if something failed, lets the others go before it."""
        self._leaving.set()
        self._send(failure)
        if self._number == 0 and (failure or self._heard.is_set()):
            until = time.monotonic() + _PATIENCE
            while self._peers and time.monotonic() < until:
                time.sleep(0.05)

    def _send(self, failure: str, but: int | None = None) -> None:
        line = json.dumps({"failure": failure}).encode() + b"\n"
        with self._lock:
            for number, peer in self._peers.items():
                if number != but:
                    with contextlib.suppress(OSError):
                        peer.sendall(line)

    def _accept(self, listener: socket.socket, token: str) -> None:
        while True:
            peer, _ = listener.accept()
            self._start(self._greet, peer, token)

    def _greet(self, peer: socket.socket, token: str) -> None:
        """Takes a connection that knows the run's secret."""
        peer.settimeout(30)
        lines = peer.makefile("r")
        try:
            found, number = json.loads(lines.readline(200))
        except (ValueError, OSError):
            peer.close()
            return
        if not secrets.compare_digest(str(found), token):
            peer.close()
            return
        self._listen(int(number), peer, lines)

    def _reach(self, name: str, port: int, token: str) -> None:
        for host in (name, "127.0.0.1"):  # a host may not know its own name
            try:
                peer = socket.create_connection((host, port), timeout=10)
                peer.sendall(json.dumps([token, self._number]).encode() + b"\n")
            except OSError:
                continue
            self._start(self._listen, 0, peer, peer.makefile("r"))
            return

    def _listen(self, number: int, peer: socket.socket, lines: Any) -> None:
        """Waits for what another process says last, or for its connection to close."""
        peer.settimeout(None)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEPT_ALIVE.items():
            if hasattr(socket, option):
                peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        with self._lock:
            self._peers[number] = peer
        said = None
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(lines.readline())["failure"]
        if said:
            self._hear(said, number, _GRACE)
        elif said is None:
            # Of the first process JAX's notice is an abort that comes at the same time.
            lost = f"process {number} ended without a word: it was killed, or its machine is gone"
            self._hear(lost, number, 0.0 if number == 0 else _GRACE)
        with contextlib.suppress(OSError):
            peer.recv(1)  # until it is gone
        with self._lock:
            self._peers.pop(number, None)

    def _hear(self, reason: str, number: int, grace: float) -> None:
        """Ends this process, too, if it does not by itself."""
        if self._heard.is_set() or self._leaving.is_set():
            return
        self._reason = reason
        self._heard.set()
        if self._number == 0:
            self._send(reason, but=number)
        self._start(self._give_up, grace)

    def _give_up(self, grace: float) -> None:
        if not self._leaving.wait(grace):
            os.write(2, f"fedcode: error: {self._reason}\n".encode())
            self._leave("")
            os._exit(2)

    def _start(self, function: Any, *given: Any) -> None:
        threading.Thread(target=function, args=given, daemon=True).start()
