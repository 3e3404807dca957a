"""The same federated work by every peer: checked equal first, then timed in turns.

    python benchmarks/peers/compare.py [--tasks cifar_cnn ...] [--peers ...] [--rounds N]
        [--turns 3] [--threads 1 2] [--data cifar10.npz] [--samples N] [--out NAME]

A peer whose test loss after the check form of a task is not ours, to 1e-3, is not timed there. A
turn runs every peer once at every number of threads, each in a whole process, so that a machine
that slows down is fair to all. Of a peer's thread settings the one with the smallest median
counts. Prints a Markdown table; writes all samples to benchmarks/results/peers-NAME.json.
"""

import argparse
import pathlib
import shlex
import statistics
import sys
from typing import Any

import processes
import tasks

TOLERANCE = 1e-3
DEFAULT = [name for name in processes.PEERS if name != "ours_probe"]


def check(name: str, path: pathlib.Path, expected: float | None, limit: float) -> dict[str, Any]:
    """The result of a peer on the check form, or ``{"error": ...}``."""
    try:
        result = processes.run(
            name, path, rounds=tasks.CHECK_ROUNDS, threads=1, limit=limit, check=True
        )
    except processes.PeerError as error:
        return {"error": str(error)}
    loss = result["test_loss"]
    if expected is None:
        return result if name == "ours" else {"error": "ours failed: nothing to check against"}
    # Written so that a loss that is not a number fails as well.
    if not abs(loss - expected) <= TOLERANCE * abs(expected):
        return {"error": f"loss {loss:.5f} in the check, ours {expected:.5f}", **result}
    return result


def measure(task: str, options: argparse.Namespace) -> dict[str, Any]:
    """Checks and times all peers on one task.

    Args:
      task: its name.
      options: of the command line.

    Returns:
      By peer: ``check``, ``runs`` (what each process reported) and, if it failed, ``error``.
    """
    paths = {
        form: tasks.write(task, check=form == "check", data=options.data, samples=options.samples)
        for form in ("check", "timed")
    }
    peers: dict[str, Any] = {}
    expected = None
    for name in options.peers:
        checked = check(name, paths["check"], expected, options.limit)
        if name == "ours" and "error" not in checked:
            expected = checked["test_loss"]
        peers[name] = {"check": checked, "runs": []}
        if "error" in checked:
            peers[name]["error"] = checked["error"]
        print(f"{task} {name}: {checked.get('error', 'check passed')}", file=sys.stderr)
    for turn in range(options.turns):
        for threads in options.threads:
            for name, peer in peers.items():
                if "error" not in peer:
                    try:
                        run = processes.run(
                            name,
                            paths["timed"],
                            rounds=options.rounds,
                            threads=threads,
                            limit=options.limit,
                        )
                    except processes.PeerError as error:
                        peer["error"] = str(error)
                        continue
                    peer["runs"].append({"turn": turn, **run})
        print(f"{task}: turn {turn + 1} of {options.turns}", file=sys.stderr)
    for peer in peers.values():
        peer["best"] = best(peer["runs"])
    return peers


def best(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Threads, median and range in seconds of the fastest thread setting, if any run ended."""
    settings = {}
    for run in runs:
        settings.setdefault(run["threads"], []).extend(run["round_seconds"])
    if not settings:
        return None
    threads = min(settings, key=lambda count: statistics.median(settings[count]))
    seconds = settings[threads]
    return {
        "threads": threads,
        "median": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "setup": statistics.median(r["setup_seconds"] for r in runs if r["threads"] == threads),
    }


def row(task: str, name: str, peer: dict[str, Any], ours: dict[str, Any] | None) -> str:
    """One line of the Markdown table."""
    found = peer["best"]
    if "error" in peer or found is None:
        return f"| `{task}` | {name} | {peer.get('error', 'no run')[:100]} | | | | |"
    ratio = f"{found['median'] / ours['median']:.2f}" if ours else ""
    low, mid, high = (f"{1e3 * found[key]:,.1f}" for key in ("low", "median", "high"))
    return (
        f"| `{task}` | {name} | {mid} | {low} to {high} | {ratio} | {found['threads']} "
        f"| {found['setup']:.1f} |"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--tasks", nargs="+", default=list(tasks.SETTINGS), choices=list(tasks.SETTINGS))
    add("--peers", nargs="+", default=DEFAULT, choices=list(processes.PEERS))
    add("--rounds", type=int, default=3, help="that count, in each process")
    add("--turns", type=int, default=3)
    add("--threads", type=int, nargs="+", default=[1, 2])
    add("--data", help="CIFAR-10 as npz; without it images are random")
    add("--samples", type=int, help="of each client at most, on images")
    add("--out", help="of the file of results; nothing is written without it")
    add("--limit", type=float, default=600, help="seconds for a process")
    options = parser.parse_args()
    # Ours first: its loss is what the others are held against.
    options.peers = ["ours", *(name for name in options.peers if name != "ours")]
    return options


def main() -> None:
    options = parse()
    results = {task: measure(task, options) for task in options.tasks}
    print("| task | peer | ms a round | range | over ours | threads | set-up s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for task, peers in results.items():
        for name, peer in peers.items():
            print(row(task, name, peer, peers["ours"]["best"]))
    if options.out:
        sys.path.append(str(pathlib.Path(__file__).parents[1]))
        import recording

        result = {
            "command": shlex.join(["python", "benchmarks/peers/compare.py", *sys.argv[1:]]),
            "what": "seconds of each round of federated work, processes interleaved in turns",
            "data": "CIFAR-10" if options.data else "random images of CIFAR-10's shape",
            "tasks": results,
        }
        print(f"written to {recording.write(f'peers-{options.out}', result)}")


if __name__ == "__main__":
    main()
