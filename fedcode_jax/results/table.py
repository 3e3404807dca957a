"""The closing table of a run."""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fedcode_jax.results.units import format_accuracy, format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.table import Table


def closing_table(
    summary: Mapping[str, Any], *, network: object, folder: str | os.PathLike[str] | None = None
) -> "Table":
    """The figures of a finished run for the terminal.

    Args:
      summary: as ``summarise`` gives it.
      network: what the simulated time was reckoned on; its ``str`` is shown.
      folder: the run's folder, if it has one.

    Returns:
      A table that a rich console prints.

    Example:
      >>> from fedcode_jax.results.summary import summarise
      >>> summary = summarise(
      ...     [], period=1, status="interrupted", fedavg_bytes=0, fedavg_formula_bits=0
      ... )
      >>> closing_table(summary, network="a fast link").row_count > 5
      True
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, value: str) -> None:
        table.add_row(name, Text(value))  # Text: a path may hold what rich takes for markup

    up, down = summary["total_uplink_bytes"], summary["total_downlink_bytes"]
    rounds = summary["rounds"]
    row("status", f"{summary['status']} after {rounds} round{'' if rounds == 1 else 's'}")
    row("accuracy", _both(summary, "final_accuracy", "final_deployed_accuracy"))
    if summary["period"] is None:
        row("  mean of last period", "- (the run has no whole period of its schedule)")
    else:
        row(
            f"  mean of last {summary['period']} rounds",
            _both(summary, "period_accuracy", "period_deployed_accuracy"),
        )
    row("  best", format_accuracy(summary["best_accuracy"]))
    for name, value in _of_clients(summary):
        row(name, value)
    row("sent", f"{format_bytes(up + down)} (up {format_bytes(up)}, down {format_bytes(down)})")
    row("reduction against FedAvg", _reduction(summary))
    row("simulated time", f"{format_seconds(summary['simulated_seconds'])} on {network}")
    parts = [summary.get(f"{part}_seconds") for part in ("computing", "sending", "waiting")]
    if any(parts):
        shown = [format_seconds(seconds or 0) for seconds in parts]
        row("  of the mean client", "computing {}, sending {}, waiting {}".format(*shown))
    if summary.get("to_accuracy"):
        last = summary["to_accuracy"][-1]
        cost = f"{format_bytes(last['bytes'])}, {format_seconds(last['seconds'])}"
        row(f"  until {format_accuracy(last['accuracy'])}", f"round {last['round']}, {cost}")
    if summary.get("faults"):
        row("faults", _faults(summary["faults"]))
    compiling = summary.get("compile_seconds")
    wall = format_seconds(summary["wall_seconds"])
    row("wall time", wall + (f", compiling {format_seconds(compiling)}" if compiling else ""))
    for name, value in _checks(summary):
        row(name, value)
    if summary.get("privacy") is not None:
        row("privacy", _privacy(summary["privacy"]))
    waste = summary.get("padding_waste")
    if waste is not None:
        row("padding waste", f"{100 * waste:.1f} % of the clients' steps")
    if folder is not None:
        row("folder", os.fspath(folder))
    return table


def _checks(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What was held against the bytes, and against the same rounds in float64."""
    if summary.get("wire_check") is not None:
        yield "wire check", _of_messages(summary["wire_check"])
    check = summary.get("check")
    if check is not None:
        yield (
            "check in float64",
            "largest difference, what rounding may make of it, how often looked",
        )
    for name, found in (check or {}).items():
        apart = f"within {found['difference']:.1e} (bound {found['bound']:.1e})"
        yield f"  {name}", (apart if found["bound"] else "equal") + f", {found['compared']:,} times"


def _of_clients(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The spread over the clients of the common model's accuracy, and of their own models'."""
    for key, name in (
        ("client_accuracy", "  on clients' own distributions"),
        ("personal_accuracy", "  of clients' own models on these"),
    ):
        found = summary.get(key)
        if found is not None:
            worst, mean = format_accuracy(found["worst_decile"]), format_accuracy(found["mean"])
            yield name, f"{mean} (of the worst tenth {worst})"


def _privacy(spent: Mapping[str, Any]) -> str:
    """What a run promises of each client's data, and against whom."""
    epsilon, server = spent["epsilon"], spent["epsilon_server"]
    told = "the server is trusted" if server is None else f"the server, epsilon {server:.4g}"
    return f"epsilon {epsilon:.4g} at delta {spent['delta']:g}, by the models; {told}"


def _faults(found: Mapping[str, int]) -> str:
    """The faults that there were."""
    shown = [f"{count:,} {name.replace('_', ' ')}" for name, count in found.items() if count]
    return ", ".join(shown) or "none befell it"


def _of_messages(check: Mapping[str, Any]) -> str:
    """What the wire check found."""
    apart = check["largest_difference"]
    parts = [
        f"{check['messages']:,} messages decoded as sent,"
        f" in {format_bytes(check['encoded_bytes'])}",
        f"counted within {100 * apart:.2g} % of each" if apart else "counted exactly",
    ]
    if check.get("damaged"):
        parts.append(f"{check['damaged']:,} refused when damaged")
    if check.get("refused"):
        parts.append(f"{check['refused']:,} refused as not finite")
    if check.get("left_out"):
        parts.append(f"the last {check['left_out']:,} rounds, which diverged, were not looked at")
    return "; ".join(parts)


def _both(summary: Mapping[str, Any], server: str, deployed: str) -> str:
    text = format_accuracy(summary[server])
    if summary[deployed] is not None:
        text += f" (as deployed {format_accuracy(summary[deployed])})"
    return text


def _reduction(summary: Mapping[str, Any]) -> str:
    measured, formula = summary["reduction_vs_fedavg"], summary["reduction_formula"]
    if measured is None:
        return "- (nothing was sent)"
    text = f"{measured:.2f}x measured"
    return text + (f", {formula:.2f}x by formula" if formula is not None else "")
