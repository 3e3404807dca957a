"""``fedcode data``: downloads and prepares data sets, and lists them."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro

from fedcode_jax.cli.words import check_names
from fedcode_jax.errors import check_name


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """Download a set of tensorflow-datasets and write it in a form that is read without a network.

    What is prepared already stays as it is. A download that fails or is interrupted leaves nothing
    that looks prepared; start the command again.
    """

    name: tyro.conf.Positional[str]
    """Name of the set, such as cifar10 or emnist/balanced."""
    dir: Path | None = None
    """Folder of prepared sets, the later --data.dir; None: tensorflow-datasets' own."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """List data sets, and which of them are prepared.

    Besides the sets shown, every image-classification set of tensorflow-datasets can be used, and
    your own arrays with --data.name npz.
    """

    dir: Path | None = None
    """Folder of prepared sets; None: tensorflow-datasets' own."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Args:
      arguments: what follows ``fedcode data``.

    Returns:
      0.

    Raises:
      FedcodeError: a set is unknown or cannot be prepared.
    """
    listing = "\n".join(f"  {name:<8} {what}" for name, (what, _, _) in _ACTIONS.items())
    parser = argparse.ArgumentParser(
        prog="fedcode data",
        description="Prepares and lists data sets.",
        epilog=f"actions:\n{listing}\n\nfedcode data ACTION --help tells an action's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("action", metavar="ACTION", help="one of the actions below")
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="its options")
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    given = parser.parse_args(arguments)
    check_name("action", given.action, _ACTIONS)
    _, kind, act = _ACTIONS[given.action]
    check_names(kind, given.arguments)
    options = tyro.cli(
        kind,
        prog=f"fedcode data {given.action}",
        args=given.arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    act(options)
    return 0


def _prepare(options: PrepareOptions) -> None:
    from fedcode_jax.data import prepared, preparing
    from fedcode_jax.results.writing import check_writable

    root = options.dir or prepared.default_dir()
    folder = prepared.find(options.name, root)
    if folder is not None:
        print(f"{options.name} is prepared already: {folder}")
        return
    prepared.check(options.name, "name")
    check_writable(root, "dir")
    builder = preparing.prepare(options.name, root)
    print(f"{options.name} is prepared: {builder.data_path}")


def _list(options: ListOptions) -> None:
    from rich.console import Console
    from rich.table import Table

    from fedcode_jax.data import prepared

    root = options.dir or prepared.default_dir()
    table = Table("name", "what it is", "train", "test", "sample", "prepared", box=None)
    table.add_row("digits", "handwritten digits of scikit-learn", "1,437", "360", "8 x 8 x 1", "-")
    table.add_row("npz", "your own arrays, --data.path", "", "", "", "-")
    table.add_row("synthetic", "Gaussian classes of any shape", "any", "any", "any", "-")
    there = prepared.found(root)
    for name, known in prepared.KNOWN.items():
        state = "yes" if name in there else "no, needs TensorFlow" if known.tensorflow else "no"
        counts = (f"{known.train:,}", f"{known.test:,}")
        table.add_row(name, known.what, *counts, known.shape, state)
    for name in sorted(set(there) - set(prepared.KNOWN)):
        folder = prepared.find(name, root)
        sizes = {} if folder is None else prepared.sizes(folder)
        test = sizes.get("test", sizes.get("validation", 0))
        table.add_row(name, "", f"{sizes.get('train', 0):,}", f"{test:,}", "", "yes")
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(f"Folder of prepared sets: {root}\n", highlight=False, soft_wrap=True)
    console.print(table)


_ACTIONS: dict[str, tuple[str, Any, Callable[[Any], None]]] = {
    "prepare": ("download a set and prepare it", PrepareOptions, _prepare),
    "list": ("show sets, and which are prepared", ListOptions, _list),
}
