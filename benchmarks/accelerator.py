"""Everything to be known of a card, in order of worth, by one command that may be cut off.

    python benchmarks/accelerator.py --minutes 9 [--data cifar10.npz] [--again PART] [--out DIR]
    python benchmarks/accelerator.py --smoke      # all of it, small, on a CPU; nothing is kept
    python benchmarks/accelerator.py --report     # the README's table, from what results there are

Each part is a process of its own; its limit is its share of the minutes that are left, so what one
part does not use the later ones have. What a part finds is kept as it goes, in
DIR/<card>/<part>.json (DIR: benchmarks/results/accelerator). A second call runs what is missing,
failed or was skipped. This process never touches the card, which a part thus has for itself.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from accelerator_table import read, table, write

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results" / "accelerator"
SHARES = {
    "suite": 90,
    "digits": 60,
    "plans": 80,
    "codebooks": 40,
    "pfl": 90,
    "resnet20": 60,
    "default": 90,
    "sweep": 40,
    "precision": 60,
    "memory": 30,
}
"""The parts in order of worth, and their shares of the time, in seconds of nine minutes or so."""
LEAST_SECONDS = 10  # below, no further part is begun
GRACE_SECONDS = 5  # for a part that is told to end, to end what it started
MISSING = 3  # exit status of a part without a package that it needs
TAIL = 3000  # characters
_NO_MESSAGE = ("For simplicity, JAX", "-----")  # what JAX adds below the message of an error


def finish(process: subprocess.Popen, limit: float) -> bool:
    """Waits for a process and ends it, with all it started, at its limit.

    Returns:
      Whether it ended by itself.
    """
    try:
        process.wait(limit)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:  # also when this process is told to end
        for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
            if process.poll() is None:
                os.killpg(process.pid, number)
                try:
                    process.wait(patience)
                except subprocess.TimeoutExpired:
                    continue


def run_part(command: Sequence[str], limit: float) -> dict[str, Any]:
    """Runs one part.

    Args:
      command: of its process; what it finds it writes to the file named by ``--record``.
      limit: seconds.

    Returns:
      ``status`` (done, skipped or failed), ``found``, ``seconds``, ``limit_seconds``, and for what
      is not done a ``reason`` and the ``tail`` of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, began = pathlib.Path(folder) / "found.json", time.perf_counter()
        with open(pathlib.Path(folder) / "output", "w+", errors="replace") as output:
            process = subprocess.Popen(
                [*command, "--record", str(file), "--seconds", f"{limit:.0f}"],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment(),
            )
            in_time = finish(process, limit)
            output.seek(0)
            text = output.read()
        found = read(file).get("found", [])
    record = {"seconds": round(time.perf_counter() - began, 1), "limit_seconds": round(limit, 1)}
    lines = [line for line in text.strip().splitlines() if not line.startswith(_NO_MESSAGE)]
    lines = lines or ["no message"]
    if in_time and process.returncode == 0:
        return {"status": "done", **record, "found": found}
    if not in_time:
        status, reason = "failed", f"not done in {limit:.0f} s"
    elif process.returncode == MISSING:
        status, reason = "skipped", lines[-1]
    else:
        status, reason = "failed", f"exit status {process.returncode}: {lines[-1]}"
    return {"status": status, "reason": reason, **record, "tail": text[-TAIL:], "found": found}


def environment() -> dict[str, str]:
    """Of all parts: the package as it lies here comes first, installed or not."""
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def go(
    shares: dict[str, float],
    command: Callable[[str], Sequence[str]],
    folder: pathlib.Path,
    seconds: float,
    facts: dict[str, Any],
    again: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Runs the parts that are not done, in order, until the time is up.

    Args:
      shares: of the time, by part.
      command: of the process of a part.
      folder: of the records, one file a part.
      seconds: for all of them.
      facts: that every record states.
      again: parts to run although they are done.

    Returns:
      The records of the parts that ran.
    """
    end, records = time.monotonic() + seconds, []
    left = [n for n in shares if n in again or read(folder / f"{n}.json").get("status") != "done"]
    while left:
        remaining = end - time.monotonic()
        if records and remaining < LEAST_SECONDS:
            print(f"no time left for {', '.join(left)}: call again", flush=True)
            break
        limit = remaining * shares[left[0]] / sum(shares[name] for name in left)
        name = left.pop(0)
        record = {"part": name, **facts, **run_part(command(name), limit)}
        write(folder / f"{name}.json", record)
        records.append(record)
        said = f"{record['status']} in {record['seconds']:.0f} s"
        print(f"{name:10s} {said}{': ' * ('reason' in record)}{record.get('reason', '')}")
        for found in record["found"]:
            print(f"           {found['what']}: {found['figure']}", flush=True)
    return records


def machine() -> dict[str, Any]:
    """The card, and the versions, as a process finds them that then leaves the card alone."""
    code = (
        "import jax, json; from fedcode_jax.results import installed_versions as v;"
        "d = jax.devices()[0]; n = jax.device_count();"
        "print(json.dumps({'card': d.device_kind, 'platform': d.platform,"
        " 'versions': v(f'{n} x {d.device_kind}')}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(f"accelerator.py: JAX finds no device here ({last})")
    return json.loads(done.stdout.splitlines()[-1])


def commit() -> str | None:
    """What is checked out, marked if it was changed; None without git."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def work(options: argparse.Namespace) -> None:
    """The process of one part: keeps what it finds as it goes."""
    import accelerator_parts

    rows: dict[str, dict[str, Any]] = {}
    size = accelerator_parts.Size(options.smoke, options.data, options.seconds)
    try:
        for found in accelerator_parts.PARTS[options.part](size):
            rows[found.what] = found._asdict()
            if options.record:
                write(options.record, {"found": list(rows.values())})
            else:
                print(json.dumps(found._asdict()), flush=True)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed here")
        raise SystemExit(MISSING) from None


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--minutes", type=float, help="for all parts together; 9, or 30 of a smoke run")
    add("--smoke", action="store_true", help="all parts, small, on a CPU; results are not kept")
    add("--report", action="store_true", help="print the table of all results, and end")
    add("--again", action="append", default=[], choices=list(SHARES), help="though it is done")
    add("--data", help="CIFAR-10 as npz; without it images are random, or of Gaussian classes")
    add("--out", type=pathlib.Path, help="folder of the results, one folder a card in it")
    add("--part", choices=list(SHARES), help="run this part in this process")
    add("--record", type=pathlib.Path, help=argparse.SUPPRESS)
    add("--seconds", type=float, default=600, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.minutes is None:  # the machines of CI may be busy
        options.minutes = 30 if options.smoke else 9
    if options.minutes <= 0:
        parser.error(f"--minutes: {options.minutes:g} cannot be used; give more than 0")
    if options.data and not pathlib.Path(options.data).is_file():
        parser.error(f"--data: there is no file {options.data}")
    return options


def main() -> None:
    options = parse()
    if options.report:
        print(table(options.out or RESULTS, list(SHARES)))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends too
    if options.smoke:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if options.part:
        work(options)
        return
    facts = machine()
    if facts["platform"] == "cpu" and not options.smoke:
        raise SystemExit("accelerator.py: JAX has only a CPU here; --smoke runs all of it small")
    words = ["--smoke"] * options.smoke + ["--data", options.data] * bool(options.data)

    def command(part: str) -> list[str]:
        return [sys.executable, str(HERE / "accelerator.py"), "--part", part, *words]

    facts |= {
        "command": shlex.join(["python", "benchmarks/accelerator.py", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
        "cores": os.cpu_count(),
        "smoke": options.smoke,
        "images": "of the file" if options.data else "synthetic, of CIFAR-10's shape",
    }
    slug = re.sub(r"[^a-z0-9]+", "-", facts["card"].lower()).strip("-")
    with tempfile.TemporaryDirectory() as temporary:
        if options.smoke:  # its parts have programs in common
            os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{temporary}/compiled"
            os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
        kept = pathlib.Path(temporary) if options.smoke else RESULTS
        folder = (options.out or kept) / slug
        records = go(SHARES, command, folder, 60 * options.minutes, facts, options.again)
    sys.exit(any(record["status"] == "failed" for record in records))


if __name__ == "__main__":
    main()
