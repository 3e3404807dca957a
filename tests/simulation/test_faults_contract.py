"""Every algorithm under every fault: it goes on, counts what was drawn, and holds nothing bad."""

import jax
import numpy as np
import optax
import pytest
from faulty import CLIENTS, FAULTS, NAMES, all_finite, assert_same, build, by_round, expected

from fedcode_jax import algorithms
from fedcode_jax.simulation import WireCheck
from fedcode_jax.simulation.state import NEVER

QUICK = {"fedcode", "lbgm"}
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]


def rows(tree, clients):
    return jax.tree.map(lambda x: x[clients], tree)


def take(check, traffic, metrics, number):
    check.take(*jax.tree.map(lambda x: x[None], (traffic, metrics)), first_round=number)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", EACH)
def test_an_algorithm_goes_on_and_counts_what_was_drawn(name, fault):
    faults, check, struck, uploads = FAULTS[fault], WireCheck(), 0, 0
    built = build(name, faults)
    for before, after, metrics, traffic in by_round(built):
        number = int(after.round)
        found = metrics.faults._asdict()
        for key, value in expected(faults, number, metrics, traffic).items():
            np.testing.assert_array_equal(found[key], value, err_msg=f"round {number}: {key}")
        assert all_finite((after.server, after.store, after.known))
        sends = np.asarray(traffic.uploads.kind) != 0
        gone = metrics.faults.vanished | metrics.faults.corrupt | metrics.faults.not_finite
        counts = sends & metrics.received & ~gone & (not metrics.faults.restarted)
        assert metrics.arrived[sends].tolist() == counts[sends].tolist()
        silent = metrics.faults.vanished | metrics.faults.not_finite
        assert (metrics.uplink_bits[silent] == 0).all()
        damaged = metrics.faults.corrupt
        np.testing.assert_array_equal(metrics.uplink_bits[damaged], traffic.upload_bits[damaged])
        if not counts.any():
            assert_same(weights_of(before), weights_of(after))
        if metrics.faults.restarted:
            assert_same((before.server, before.memory), (after.server, after.memory))
            assert (after.missed == NEVER).all()
        else:
            back = metrics.clients[metrics.received & ~metrics.faults.kept]
            assert_same(*(rows(state.store, back) for state in (before, after)))
        take(check, traffic, metrics, number)
        uploads += sends.sum()
        struck += sum(int(np.sum(found[key])) for key in found if key != "kept")
    assert struck or fault == "hostile" or not uploads


def weights_of(state):
    """The server's weights and the state of its optimiser, or what it draws its masks from."""
    names = ("weights", "optimizer", "probabilities", "stats", "ones", "masks", "age")
    found = [getattr(state.server, name) for name in names if hasattr(state.server, name)]
    assert found
    return found


@pytest.mark.parametrize("name", EACH)
def test_a_round_in_which_nobody_answers_keeps_the_model(name):
    built = build(name, {"vanish": 1.0})
    for before, after, metrics, _ in by_round(built, 3):
        assert metrics.received.all()
        assert not metrics.arrived.any()
        assert (metrics.uplink_bits == 0).all()
        assert_same(weights_of(before), weights_of(after))


@pytest.mark.parametrize(
    "step", [optax.adamw(0.1, weight_decay=0.1), optax.sgd(1.0, momentum=0.9, nesterov=True)]
)
def test_nor_does_an_optimiser_at_the_server_move_by_itself(step):
    weights = {"params": {"kernel": np.ones(6, np.float32)}}
    algorithm = algorithms.updates(server=step)
    server, _ = algorithm.init(weights, CLIENTS)
    message, server = algorithm.broadcast(server, None, jax.random.key(0))
    sections = jax.tree.map(lambda x: np.ones((CLIENTS, *x.shape), x.dtype), message.sections)

    def after(server, kind):
        messages = type(message)(np.full(CLIENTS, kind, np.int32), sections)
        return algorithm.aggregate(server, messages, np.ones(CLIENTS, np.float32), None)

    moving = after(server, 3)  # so that there is a momentum
    assert np.any(moving.weights["params"]["kernel"] != server.weights["params"]["kernel"])
    assert_same(after(moving, 0), moving)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fedcode", "fedavg", "lbgm", "scaffold", "stc"])
def test_every_plan_gives_the_same_under_faults(name):
    ends = []
    for plan in ({}, {"execution.client_axis": "vmap", "execution.chunk": 2}):
        built = build(name, FAULTS["all"] | {"scale": 1.0}, **plan)
        rounds = list(by_round(built, 3))
        found = [dict(zip(m.clients, m.faults.kept, strict=True)) for _, _, m, _ in rounds]
        ends.append((weights_of(rounds[-1][1])[0], found))
    assert ends[0][1] == ends[1][1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-2), ends[0][0], ends[1][0])
