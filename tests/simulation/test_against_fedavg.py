"""FedAvg sends as much as FedAvg, whatever the network does to it."""

import pytest

import fedcode_jax
from fedcode_jax.config import ExperimentConfig, replace

SMALL = {
    "rounds": 4,
    "eval_every": 4,
    "model.name": "mlp",
    "local.epochs": 1,
    "algorithm.num_clusters": 8,
}
NETWORKS = {
    "as it is": {},
    "dropout": {"network.dropout": 0.5},
    "losses": {"network.loss": 0.4},
    "a deadline that few meet": {"network.deadline": 0.25, "network.link_spread": 1.0},
    "a deadline that nobody meets": {"network.deadline": 0.04},
    "measured devices": {
        "network.name": "flash",
        "network.deadline": 0.06,
        "network.round_trip": 0.02,
    },
    "faults": {
        **{"faults.vanish": 0.2, "faults.corrupt": 0.2, "faults.not_finite": 0.2},
        **{"faults.late": 0.3, "faults.late_seconds": 0.3, "network.deadline": 0.5},
        "faults.restart": 0.2,
    },
    "few of many": {"partition.num_clients": 30, "clients_per_round": 5, "network.dropout": 0.3},
}


def summary(changes):
    return fedcode_jax.run(replace(replace(ExperimentConfig(), SMALL), changes)).summary


@pytest.mark.parametrize("name", NETWORKS)
def test_fedavg_is_no_reduction_over_itself(name):
    found = summary({"algorithm.name": "fedavg", **NETWORKS[name]})
    sent = found["total_uplink_bytes"] + found["total_downlink_bytes"]
    if sent == 0:
        assert found["reduction_vs_fedavg"] is None
    else:
        assert found["reduction_vs_fedavg"] == pytest.approx(1.0, abs=1e-12)
        assert found["reduction_formula"] == pytest.approx(1.0, abs=1e-6)


def test_dropout_does_not_flatter_others():
    """Clients that are away are away from FedAvg too: about the same reduction as without."""
    reductions = [
        summary({"rounds": 12, **changes})["reduction_vs_fedavg"]
        for changes in ({}, {"network.dropout": 0.5})
    ]
    # First contacts are a larger share of fewer messages; counted against those who are away,
    # the second would be twice the first.
    assert 0.6 * reductions[0] < reductions[1] < 1.1 * reductions[0]
