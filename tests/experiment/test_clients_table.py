"""The rows of clients, where the test set has users and where it has none."""

import types

import numpy as np
import pytest

from fedcode_jax.experiment import clients_table
from fedcode_jax.experiment.clients_table import client_rows
from fedcode_jax.simulation import Evaluation, PersonalScore, Score

SIZES = [10, 20, 30]


def experiment_of(users=None, owners=(9, 9, 9)):
    """Three clients; ``owners`` are places of users, as of ``EvaluationData``."""
    known = [] if users is None else sorted({user for user in users if user >= 0})
    counts = [sum(np.equal(users, user)) for user in known]
    return types.SimpleNamespace(
        partition=types.SimpleNamespace(sizes=np.array(SIZES)),
        dataset=types.SimpleNamespace(test_user=None if users is None else np.array(users)),
        program=types.SimpleNamespace(
            test=types.SimpleNamespace(owners=np.array(owners), user_sizes=np.array(counts))
        ),
    )


def score(clients, plus=0.0):
    values = np.arange(1, clients + 1) / 8 + plus
    return Score(None, None, None, values, {}, values + 1)


def found(clients, personal=False):
    own = PersonalScore(*(np.arange(3) / 4 + i for i in range(4))) if personal else None
    return Evaluation(score(clients), score(clients, 0.5), own)


def columns(rows, *names):
    return [tuple(row[name] for name in names) for row in rows]


@pytest.mark.parametrize("users", [None, [-1, -1]])
def test_without_users_a_row_is_a_client(users):
    rows = client_rows(experiment_of(users), 4, found(3))
    assert columns(rows, "round", "client", "samples") == [(4, 0, 10), (4, 1, 20), (4, 2, 30)]
    assert columns(rows, "accuracy", "loss", "deployed_accuracy", "deployed_loss") == [
        (0.125, 1.125, 0.625, 1.625),
        (0.25, 1.25, 0.75, 1.75),
        (0.375, 1.375, 0.875, 1.875),
    ]
    assert len(rows[0]) == 7
    own = client_rows(experiment_of(users), 4, found(3, personal=True))
    assert columns(own, "personal_accuracy", "personal_loss") == [(0, 1), (0.25, 1.25), (0.5, 1.5)]
    assert columns(own, "personal_test_accuracy", "personal_test_loss")[1] == (2.25, 3.25)


def test_with_users_a_row_is_a_user_and_says_who_has_its_samples():
    """Users 5, 7 and 8; client 0 is user 8, client 1 has samples of several, client 2 is user 5."""
    experiment = experiment_of([7, 5, 5, -1, 8], owners=(2, 3, 0))
    rows = client_rows(experiment, 1, found(3))
    assert columns(rows, "client", "user", "samples", "test_samples", "accuracy") == [
        (0, 8, 10, 1, 0.375), (2, 5, 30, 2, 0.125), (None, 7, None, 1, 0.25),
    ]  # fmt: skip
    assert clients_table.test_users(experiment).tolist() == [
        5,
        7,
        8,
    ]  # evaluation.json, beside the figures
    rows = client_rows(experiment, 1, found(3, personal=True))
    assert columns(rows, "client", "user", "accuracy", "personal_accuracy") == [
        (0, 8, 0.375, 0.0), (1, None, None, 0.25), (2, 5, 0.125, 0.5), (None, 7, 0.25, None),
    ]  # fmt: skip
