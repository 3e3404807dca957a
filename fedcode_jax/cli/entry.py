"""Finds the subcommand, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 the run diverged, 2 a mistake in the options, the config or the data,
130 interrupted.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence

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
    try:
        return _dispatch(given)
    except FedcodeError as error:
        if "--debug" in given:
            traceback.print_exc()
        print(f"fedcode: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fedcode: interrupted", file=sys.stderr)
        return 130
    except SystemExit as stop:  # the parsers end with it, after --help too
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2


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
