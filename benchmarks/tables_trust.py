"""Faults, damaged files and the soak: what their raw files hold."""

from tables_text import Raw, paragraphs, table

WORLDS = {
    "clean": "nothing",
    "away, damaged, NaN": "30 % of the clients away in a round, 5 % of the uploads damaged, 5 % "
    "made of NaN",
    "2 of 10 hostile": "2 of 10 clients send 100 times their model",
}
KINDS = {
    "manifest": "a checkpoint's manifest",
    "state": "a checkpoint's arrays",
    "metrics": "`metrics.jsonl`, in a report",
    "metrics_resumed": "`metrics.jsonl`, of a run that goes on",
    "summary": "`summary.json`",
    "evaluation": "`evaluation.json`",
    "clients": "`clients.csv`",
    "run_config": "`config.yaml` of a run, in a report",
    "npz": "npz",
    "npz_compressed": "npz, compressed",
    "yaml": "a config in YAML",
    "sweep_yaml": "a sweep in YAML",
    "network_table": "a table of links",
    "message": "a message",
    "message_forged": "a message with a valid checksum again",
    "safetensors": "an exported model, safetensors",
    "exported_message": "an exported model, message",
    "exported_page": "the page beside it",
    "tfrecords": "TFRecords",
}


def faults_found(raw: Raw) -> str:
    """Accuracy with faults, and what the rules keep."""
    found = {(row["aggregation"], row["world"]): row for row in raw("faults")["rows"]}
    rows = []
    for (rule, world), row in found.items():
        ended = {run["status"] for run in row["runs"]} - {"completed"}
        cells = [f"{100 * row['final_accuracy']:.1f}" + "".join(f", {each}" for each in ended)]
        below = f"{row['points_below_clean']:.1f}".replace("-0.0", "0.0")
        rows.append([rule, WORLDS[world], *cells, "" if world == "clean" else below])
    struck = found["mean", "away, damaged, NaN"]["runs"]
    damaged, unsound = (
        sum(run["faults"][name] for run in struck)
        for name in ("rejected_corrupt", "rejected_not_finite")
    )
    uploads = sum(run["arrived_uploads"] for run in struck) + damaged + unsound
    exactly = all(run["counted_as_drawn"] for run in struck)
    clean = [100 * found[rule, "clean"]["final_accuracy"] for rule in ("mean", "median")]
    drawn = ", in each round exactly those that were drawn" if exactly else ""
    last = paragraphs(
        f"Of {uploads} uploads in the second row {damaged} were rejected as damaged and {unsound} "
        f"as not finite{drawn}. Without anything wrong the median costs {clean[0] - clean[1]:.1f} "
        "points against the mean."
    )
    head = ["aggregation", "what goes wrong", "accuracy", "below the clean run"]
    return f"{table(head, rows)}\n\n{last}"


def mutations_table(raw: Raw) -> str:
    """Refused and read, by kind and version of Python."""
    by_version = raw("mutations")
    rows = []
    for kind, words in KINDS.items():
        cells = []
        for found in by_version.values():
            counts = found["kinds"][kind]
            cells.append(f"{counts.get('refused', 0):,}, {counts.get('read', 0):,}")
        rows.append([words, *cells])
    head = [f"Python {version}: refused, read" for version in by_version]
    return table(["kind", *head], rows)


def soak_found(raw: Raw) -> str:
    """Whether memory and speed stay as they are."""
    windows = raw("soak")["windows"]
    first, last = windows[1], windows[-1]
    resident = [f"{window['resident_bytes'] / 1e6:.0f}" for window in (first, last)]
    seconds = [1e3 * window["cpu_seconds_a_round"] for window in windows[1:]]
    return paragraphs(
        f"Over {last['round']:,} rounds of FedCode with checkpoints (`python benchmarks/soak.py`, "
        f"[raw figures](results/soak.json)) the process's memory goes from {resident[0]} MB after "
        f"{first['round']} rounds to {resident[1]} MB, arrays on the device stay at "
        f"{last['device_bytes'] / 1e3:.0f} kB, and a round takes {min(seconds):.0f} to "
        f"{max(seconds):.0f} ms of CPU time, at the end {seconds[-1]:.0f}."
    )


BLOCKS = {
    "faults-found": faults_found,
    "mutations-table": mutations_table,
    "soak-found": soak_found,
}
