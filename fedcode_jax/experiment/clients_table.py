"""The rows of ``clients.csv``: how every client fares at an evaluation."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.building import Experiment
from fedcode_jax.simulation import Evaluation

_PERSONAL = {
    "personal_accuracy": "accuracy",
    "personal_loss": "loss",
    "personal_test_accuracy": "shared_accuracy",
    "personal_test_loss": "shared_loss",
}
"""Columns, named as the means in ``metrics.jsonl``, and fields of ``PersonalScore``."""


def check_clients(config: ExperimentConfig, folder: str | None) -> None:
    """Checks that there is a folder for the figures of clients, if they are asked for.

    Args:
      config: of the run.
      folder: of it, or of its sweep; None if there is none.

    Raises:
      ConfigError: there is none.
    """
    if config.evaluate_clients and folder is None:
        raise ConfigError(
            "evaluate_clients: true writes clients.csv into the run's folder, and there is none; "
            "set out"
        )


def client_rows(experiment: Experiment, number: int, found: Evaluation) -> list[dict[str, Any]]:
    """How every client fares at an evaluation.

    Args:
      experiment: what runs.
      number: of the round.
      found: its evaluation.

    Returns:
      One row a client: ``round``, ``client`` from 0, ``samples`` that it trains on; ``accuracy``,
      ``loss``, ``deployed_accuracy`` and ``deployed_loss``, of the server's weights and as
      deployed, on a test set with the class shares of these; and where clients have models of
      their own, the figures of whose means ``metrics.jsonl`` has. If the test set has users, these
      accuracies and losses are of users, each on its own test samples: ``user`` is its number in
      the data set, ``test_samples`` how many they are, and ``client`` who trains on the samples of
      that user alone, if anybody does.
    """
    sizes = experiment.partition.sizes.tolist()
    by_client = _columns(found.personal, _PERSONAL) if found.personal is not None else {}
    models = {"": found.server, "deployed_": found.deployed}
    by_row = {
        f"{model}{figure}": np.asarray(values, np.float64).tolist()
        for model, score in models.items()
        for figure, values in (("accuracy", score.clients), ("loss", score.client_losses))
    }
    users = test_users(experiment)
    if users is None:
        return [
            {"round": number, "client": client, "samples": sizes[client]}
            | _row(by_row, client)
            | _row(by_client, client)
            for client in range(len(sizes))
        ]
    counts = np.asarray(experiment.program.test.user_sizes)
    rows = []
    for client, place in _pairs(experiment, len(users), every=bool(by_client)):
        rows.append(
            {
                "round": number,
                "client": client,
                "user": None if place is None else int(users[place]),
                "samples": None if client is None else sizes[client],
                "test_samples": None if place is None else int(counts[place]),
                **_row(by_row, place),
                **_row(by_client, client),
            }
        )
    return rows


def test_users(experiment: Experiment) -> np.ndarray | None:
    """The numbers of the users of the test set, in the order of their figures; None without any."""
    users = experiment.dataset.test_user
    if users is None or not (np.asarray(users) >= 0).any():
        return None
    return np.unique(users[users >= 0])


def _pairs(
    experiment: Experiment, users: int, *, every: bool
) -> Iterator[tuple[int | None, int | None]]:
    """Clients with the places of their users: every user, and if told so every client."""
    owners = np.asarray(experiment.program.test.owners).tolist()
    for client, place in enumerate(owners):
        if place < users:
            yield client, place
        elif every:
            yield client, None
    for place in sorted(set(range(users)) - set(owners)):
        yield None, place


def _columns(score: Any, names: dict[str, str]) -> dict[str, list[float]]:
    return {
        column: np.asarray(getattr(score, name), np.float64).tolist()
        for column, name in names.items()
    }


def _row(columns: dict[str, list[float]], place: int | None) -> dict[str, Any]:
    return {name: None if place is None else values[place] for name, values in columns.items()}
