"""Every method beside FedAvg: accuracy against measured bytes, both ways, on three tasks.

    python benchmarks/rivals.py digits
    python benchmarks/rivals.py cifar10-lenet5 cifar10-resnet8 --data cifar10.npz --minutes 480
    python benchmarks/rivals.py digits --only stc eden   # these, and what they are compared with
    python benchmarks/rivals.py --report                 # tables and pictures of what there is
    python benchmarks/rivals.py --smoke                  # all of it, tiny; nothing is kept

Methods are all that ``--algorithm.name`` knows, at the settings of their papers, and some in
several settings (``rivals_variants.py``), for 30 rounds. ``digits`` is the default experiment with
5 seeds, IID and Dirichlet 0.3. ``cifar10-lenet5`` and ``cifar10-resnet8`` have the first 10,000
training and 2,000 test images of the file, 10 clients, Dirichlet 0.3, one epoch a round (two for
methods that need many steps), Adam at 1e-3 in batches of 32, and 3 seeds.

A method is a piece, on CIFAR-10 for each seed. The record of a piece is a file in
benchmarks/results/rivals, and a second call runs what is missing, failed or of other settings. On
CIFAR-10 a piece that was cut off goes on from its last checkpoint, in runs/rivals. ``--share 1/2``
and ``--share 2/2``, side by side, are faster than one call: one compiles while the other runs. The
tables and pictures of all records, with the methods that need the fewest bytes at
FedAvg's accuracy, are written to benchmarks/results/rivals-TASK.md, .png and .pdf.
"""

import argparse
import dataclasses
import pathlib
import shlex
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from images import first_images
from recording import RESULTS, facts
from rivals_pieces import Task, alone, go, is_done, pieces, record_of, together
from rivals_plot import draw
from rivals_table import page, rows_of
from rivals_variants import Variant, variants

from fedcode_jax import drawing
from fedcode_jax.devices import claim_cores
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.results.writing import write_atomically

SCRATCH = pathlib.Path(__file__).resolve().parents[1] / "runs" / "rivals"
IMAGES = {"data.name": "npz", "local.epochs": 1}
TASKS = {
    "digits": Task({"rounds": 30}, ("IID", "Dirichlet 0.3"), 5),
    "cifar10-lenet5": Task(
        {"rounds": 30, "model.name": "lenet5", **IMAGES}, ("Dirichlet 0.3",), 3, True, True, 2
    ),
    "cifar10-resnet8": Task(
        {"rounds": 30, "model.name": "resnet8", **IMAGES}, ("Dirichlet 0.3",), 3, True, True, 2
    ),
}
SMOKE = {"rounds": 2, "partition.num_clients": 2}


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("tasks", nargs="*", help=f"some of {', '.join(TASKS)}; none: digits, or all of a report")
    add("--data", type=pathlib.Path, help="CIFAR-10 as npz, which its tasks need")
    add("--only", nargs="+", metavar="METHOD", help="rows of the table, or all of a method")
    add("--minutes", type=float, help="after which no piece is begun; a second call goes on")
    add("--share", default="1/1", metavar="K/N", help="of N calls at a time this is the K-th")
    add("--seeds", type=int, help="how many, in place of the task's")
    add("--rounds", type=int, help="in place of 30; earlier records are run again")
    add("--report", action="store_true", help="tables and pictures of what there is, and end")
    add("--smoke", action="store_true", help="tiny, of fedavg and stc unless --only says otherwise")
    add("--out", type=pathlib.Path, help="folder instead of benchmarks/results")
    options = parser.parse_args(words)
    every = options.report or options.smoke
    options.tasks = options.tasks or (list(TASKS) if every else ["digits"])
    if options.smoke:
        options.only = options.only or ["fedavg", "stc"]
        options.seeds = options.seeds or 2
    number, _, calls = options.share.partition("/")
    if not (number.isdigit() and calls.isdigit() and 1 <= int(number) <= int(calls)):
        parser.error(f"--share: {options.share} cannot be used; it must be K/N, K from 1 to N")
    options.share = slice(int(number) - 1, None, int(calls))
    try:
        for name in options.tasks:
            check_name("task", name, TASKS)
        chosen(options.only)
    except ConfigError as error:
        parser.error(str(error))
    needs_images = any(TASKS[name].images for name in options.tasks)
    if needs_images and not (every or (options.data and options.data.is_file())):
        parser.error(f"--data: {options.data} cannot be used; give CIFAR-10 as an npz file")
    return options


def chosen(only: Sequence[str] | None, long_epochs: int = 10) -> dict[str, Variant]:
    """Those variants that are asked for, with what they are compared with.

    Args:
      only: names of variants; the name of a method but FedAvg stands for all variants of it. None:
        all.
      long_epochs: as of ``variants``.

    Raises:
      ConfigError: there is none of a name.
    """
    every, picked = variants(long_epochs), set()
    for name in every if only is None else only:
        check_name("--only", name, every)
        own = {each for each, one in every.items() if one.settings["algorithm.name"] == name}
        picked |= own if own and name != "fedavg" else {name}
    picked |= {"fedavg", *(every[name].reference for name in picked)}
    return {name: one for name, one in every.items() if name in picked}


def task_of(name: str, options: argparse.Namespace, scratch: pathlib.Path) -> Task:
    """A task as it is asked for."""
    task = TASKS[name]
    settings = {**task.settings, **({"rounds": options.rounds} if options.rounds else {})}
    if options.smoke:
        settings |= SMOKE
    if task.images:
        settings["data.path"] = [str(scratch / "cifar10-10000.npz")]
    return dataclasses.replace(task, settings=settings, seeds=options.seeds or task.seeds)


def make_images(options: argparse.Namespace, scratch: pathlib.Path) -> None:
    """The images of the tasks, in a file of their own; of a smoke run random ones."""
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / "cifar10-10000.npz"
    if not any(TASKS[name].images for name in options.tasks):
        return
    if not options.smoke:
        first_images(options.data, file, train=10_000, test=2_000)
        return
    rng, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 40), ("test", 20)):
        arrays[f"{part}_x"] = rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
        arrays[f"{part}_y"] = np.arange(count) % 10
    np.savez(file, **arrays)


def stated(options: argparse.Namespace) -> dict[str, Any]:
    """What every record states; of the data the name alone."""
    found = facts()
    if options.data:
        found["command"] = found["command"].replace(shlex.quote(str(options.data)), "cifar10.npz")
    return found


def report(name: str, task: Task, folder: pathlib.Path) -> None:
    """Writes and prints the tables of a task, and draws its picture."""
    known = variants(task.long_epochs)
    todo, errors = pieces(name, task, known)
    records = [(piece, record_of(piece, folder / "rivals")) for piece in todo]
    found = [(piece, record) for piece, record in records if record is not None]
    if not found:
        print(f"{name}: no records yet")
        return
    parts = {partition: rows_of(found, partition, known) for partition in task.partitions}
    notes = [f"`{method}` cannot be run here: {error}" for method, error in errors.items()]
    for piece, record in found:
        failed = {one["error"] for one in record["runs"] if one["status"] == "failed"}
        notes += [f"`{piece.method}` failed: {error}" for error in failed]
    if len(found) < len(todo):
        notes.append(f"{len(todo) - len(found)} of {len(todo)} pieces have not been run yet.")
    picture = folder / f"rivals-{name}.png"
    figure = draw(name, parts)
    for path in (picture, picture.with_suffix(".pdf")):
        write_atomically(path, drawing.encoded(figure, path.suffix[1:]))
    text = page(name, parts, [record for _, record in found], notes, picture.name)
    write_atomically(folder / f"rivals-{name}.md", text)
    print(f"{text}\nwritten to {folder.name}/rivals-{name}.md, .png, .pdf")


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    claim_cores()  # before JAX is asked for its devices
    with tempfile.TemporaryDirectory() as temporary:
        kept, scratch = (pathlib.Path(temporary),) * 2 if options.smoke else (RESULTS, SCRATCH)
        folder = options.out or kept
        folder.mkdir(parents=True, exist_ok=True)
        if not options.report:
            make_images(options, scratch)
        end = None if options.minutes is None else time.monotonic() + 60 * options.minutes
        for name in options.tasks:
            task = task_of(name, options, scratch)
            if not options.report:
                todo, _ = pieces(name, task, chosen(options.only, task.long_epochs))
                own = todo[options.share]
                left = [piece for piece in own if not is_done(piece, folder / "rivals")]
                work = alone(scratch) if task.apart else together
                go(left, work, folder / "rivals", end, stated(options))
            report(name, task, folder)


if __name__ == "__main__":
    main()
