"""Finds the subcommand, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 the run diverged, 2 a mistake in the options, the config or the data, 130
interrupted, 143 and 129 ended by SIGTERM and SIGHUP, 141 nobody reads what it prints.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fedcode_jax.cli import advise, bench, data, export, report, reproduce, run, sweep
from fedcode_jax.errors import FedcodeError, check_name
from fedcode_jax.version import VERSION

Command = Callable[[Sequence[str]], int]

COMMANDS: dict[str, tuple[str, Command]] = {
    "run": ("run one experiment", run.main),
    "sweep": ("run many experiments in few programs", sweep.main),
    "advise": ("find a schedule for a network and an accuracy", advise.main),
    "report": ("compare runs in tables and plots", report.main),
    "reproduce": ("run the paper's experiments beside its figures", reproduce.main),
    "export": ("write a run's trained model for use elsewhere", export.main),
    "data": ("prepare and list data sets", data.main),
    "bench": ("measure how fast this machine runs one", bench.main),
}
"""By name: what it does, in a line, and the function from its arguments to an exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      arguments: what follows ``fedcode``; None for this process's own.

    Returns:
      The exit code.

    Example:
      >>> main(["--version"])
      fedcode_jax 0.1.0
      0
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" not in given:  # the compiler's own warnings: a slow compilation, an odd loop
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _ended_as_by_ctrl_c():
            code = _dispatch(given)
            sys.stdout.flush()
            return code
    except FedcodeError as error:
        if "--debug" in given:
            traceback.print_exc()
        print(f"fedcode: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("fedcode: interrupted", file=sys.stderr)
        return 128 + int(getattr(stop, "number", signal.SIGINT))
    except BrokenPipeError:
        # Else Python writes what is left once more as it ends, and says that it could not.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as stop:  # the parsers end with it, after --help too
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2


class _EndedError(KeyboardInterrupt):
    """Another signal than Ctrl-C's that asks for an end."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP, where nobody heeds them, as Ctrl-C: what is done is kept."""

    def end(number: int, frame: Any) -> None:
        raise _EndedError(number)

    heeded = []
    if threading.current_thread() is threading.main_thread():
        names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        numbers = [getattr(signal, name) for name in names]
        heeded = [each for each in numbers if signal.getsignal(each) is signal.SIG_DFL]
    for number in heeded:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


def _dispatch(arguments: list[str]) -> int:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {what}" for name, (what, _) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="fedcode",
        description="Communication-efficient federated learning, simulated in JAX.",
        epilog=f"commands:\n{listing}\n\nfedcode COMMAND --help tells a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fedcode_jax {VERSION}")
    parser.add_argument("command", metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="its options")
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(arguments)
    check_name("command", options.command, COMMANDS)
    _, command = COMMANDS[options.command]
    return command(options.arguments)
