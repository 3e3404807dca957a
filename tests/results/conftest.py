"""Run folders with made-up records, so that nothing is trained."""

import pytest

from fedcode_jax.config import AlgorithmConfig, ExperimentConfig, replace, to_yaml, unchecked
from fedcode_jax.results import RunFolder, summarise


@pytest.fixture
def make_run(tmp_path):
    """Writes a run folder: ``make_run("a", [0.1, None, 0.3], seed=1)``."""

    def make(
        name,
        accuracies,
        *,
        seed=0,
        status="completed",
        size=1000,
        seconds=2.0,
        parts=None,
        clients=None,
        own=None,
        settings=None,
        period=2,
    ):
        changes = {"seed": seed, "rounds": max(len(accuracies), 1), "out": name}
        settings = dict(settings or {})
        algorithm = settings.get("algorithm.name")
        if algorithm is not None and algorithm not in AlgorithmConfig.members:
            del settings["algorithm.name"]  # which only a program of another version knows
        with unchecked():
            config = replace(ExperimentConfig(), {**changes, **settings})
        text = to_yaml(config)
        if algorithm is not None and "algorithm.name" not in settings:
            text = text.replace("name: fedcode", f"name: {algorithm!r}")
        folder = RunFolder.create(tmp_path / "runs" / name, text, {"jax": "0"})
        records = []
        for number, accuracy in enumerate(accuracies, start=1):
            record = {
                "round": number,
                "test_accuracy": accuracy,
                "deployed_accuracy": None if accuracy is None else accuracy / 2,
                "uplink_bytes": size,
                "downlink_bytes": 2 * size,
                "cumulative_bytes": 3 * size * number,
                "simulated_seconds": seconds,
                "wall_seconds": 0.1,
            }
            if parts is not None:
                names = ("computing_seconds", "sending_seconds", "waiting_seconds")
                record |= dict(zip(names, parts, strict=True))
            records.append(record)
        folder.append(records)
        if status is not None:
            costs = {"period": period, "fedavg_bytes": 30_000, "fedavg_formula_bits": 0}
            summary = summarise(records, status=status, **costs)
            evaluation = None
            if clients is not None:
                known = [each for each in clients if each is not None]
                summary["client_accuracy"] = {"worst_decile": min(known)}
                evaluation = {"client_accuracy": {"server": clients, "deployed": clients}}
            if own is not None:
                summary["personal_accuracy"] = {"mean": own}
            folder.finish(summary, evaluation)
        return folder.path

    return make
