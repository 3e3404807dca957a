"""What the controls show: the table of ``controls.py``, and what follows from it."""

import statistics
from typing import Any

from tables_text import Raw, apart, paragraphs, spread, table

SPLITS = ("IID", "Dirichlet 0.3")


def _runs(raw: Raw, split: str, algorithm: str) -> list[dict[str, Any]]:
    return [
        run
        for run in raw("controls")["runs"]
        if (run["partition"], run["algorithm"]) == (split, algorithm)
    ]


def _column(raw: Raw, split: str, algorithm: str, figure: str) -> list[float]:
    return [run[figure] for run in _runs(raw, split, algorithm)]


def _mean(raw: Raw, split: str, algorithm: str, figure: str) -> float:
    return statistics.fmean(_column(raw, split, algorithm, figure))


def _bytes(raw: Raw, split: str, algorithm: str) -> float:
    ways = ("total_uplink_bytes", "total_downlink_bytes")
    return sum(_mean(raw, split, algorithm, way) for way in ways)


def _ahead(raw: Raw, split: str, figure: str) -> tuple[float, int]:
    """By how many points ``skip`` is ahead of FedCode, and in how many seeds."""
    pairs = zip(
        _column(raw, split, "skip", figure), _column(raw, split, "fedcode", figure), strict=True
    )
    points = [100 * (skip - fedcode) for skip, fedcode in pairs]
    return statistics.fmean(points), sum(each > 0 for each in points)


def controls_table(raw: Raw) -> str:
    """Every row, over seeds."""
    rows = []
    for split in SPLITS:
        names = dict.fromkeys(
            run["algorithm"] for run in raw("controls")["runs"] if run["partition"] == split
        )
        for name in names:
            figures = ("final_accuracy", "period_accuracy", "period_deployed_accuracy")
            cells = [spread(_column(raw, split, name, figure)) for figure in figures]
            reduction = _mean(raw, split, name, "reduction_vs_fedavg")
            rows.append([split, f"`{name}`", *cells, f"{reduction:.1f}x"])
    head = ["split", "algorithm", "final", "mean of last 10 rounds", "the same, as deployed"]
    return table([*head, "reduction"], rows)


def controls_found(raw: Raw) -> str:
    """What the table says."""
    iid, skewed = SPLITS
    seeds = len(_runs(raw, iid, "fedcode"))
    under = 100 * (
        _mean(raw, iid, "fedavg", "final_accuracy") - _mean(raw, iid, "fedcode", "final_accuracy")
    )
    fewer = [
        100 * (1 - _bytes(raw, iid, f"skip{coding}") / _bytes(raw, iid, f"fedcode{coding}"))
        for coding in ("", ", conditional")
    ]

    def of_skip(split: str, figure: str) -> str:
        points, ahead = _ahead(raw, split, figure)
        return f"{apart(points)} FedCode ({ahead} of {seeds} seeds ahead)"

    lost = max(
        100
        * (
            _mean(raw, skewed, name, "period_accuracy")
            - _mean(raw, skewed, name, "period_deployed_accuracy")
        )
        for name in ("fedcode", "skip")
    )
    always = "weight_clustering"
    reductions = {
        name: _mean(raw, split, name, "reduction_vs_fedavg")
        for split, name in (
            (iid, "fedcode"),
            (iid, "fedcode, conditional"),
            (skewed, f"{always}, conditional"),
        )
    }
    return paragraphs(
        f"On IID data FedCode ends {under:.1f} points under FedAvg at "
        f"{reductions['fedcode']:.1f} times fewer bytes, or "
        f"{reductions['fedcode, conditional']:.1f} times fewer with codes coded given earlier "
        "ones, which changes nothing but the bytes. The codebook rounds themselves show little: "
        "**`skip`, which sends nothing at all in them, is, as deployed and in the mean of the last "
        f"period, {of_skip(iid, 'period_deployed_accuracy')} on IID data and "
        f"{of_skip(skewed, 'period_deployed_accuracy')} on Dirichlet data, with {fewer[0]:.0f} % "
        f"fewer bytes, or {fewer[1]:.0f} % fewer where codes are cheap.** Of the server's own "
        f"weights it is {of_skip(iid, 'period_accuracy')} on IID data and "
        f"{of_skip(skewed, 'period_accuracy')} on Dirichlet data. On this task the saving comes "
        "from calibrating seldom and from few bits a code, not from the codebooks in between.",
        "On Dirichlet data every method that calibrates seldom pays for it between calibrations, "
        "which the last round, a calibration round, does not show; and the model that clients "
        f"would receive is up to {lost:.1f} points worse than the one the server reports. There, "
        f"`{always}`, which calibrates in every round, keeps "
        f"{100 * _mean(raw, skewed, always, 'period_accuracy'):.1f} % and with conditional codes "
        f"still sends {reductions[f'{always}, conditional']:.1f} times fewer bytes than FedAvg.",
    )


BLOCKS = {"controls-table": controls_table, "controls-found": controls_found}
