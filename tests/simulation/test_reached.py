"""Who was reached, and what follows from it: contact, work, stores, references, bytes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from deliveries import CLIENTS, SMALL, assert_same, build, by_round, row

from fedcode_jax import experiment
from fedcode_jax.clients.occupancy import occupancy
from fedcode_jax.config import replace
from fedcode_jax.wire import Kind


@pytest.mark.parametrize("coding", ["fixed", "conditional"])
def test_who_did_not_receive_in_time_has_nothing_from_it(coding):
    slow = np.array([1e7, 1e7, 1e3, 1e7])  # bits/s down: the third client would need minutes
    built = build({"network.deadline": 5.0}, coding=coding, downlink=slow)
    for before, after, metrics, traffic, order in by_round(built, 4):
        late = order == 2
        assert metrics.present.all()
        assert metrics.received.tolist() == (~late).tolist()
        assert metrics.arrived.tolist() == (~late).tolist()
        assert after.contacted.tolist() == [True, True, False, True]
        assert_same(row(before.store, 2), row(after.store, 2))
        assert_same(row(before.known, 2), row(after.known, 2))
        # It is sent weights in every round, since it never had any, as far as they come.
        assert (traffic.broadcast.kind[late] == Kind.WEIGHTS).all()
        assert 0 < metrics.downlink_bits[late][0] <= (5 - 0.05) * 1e3
        assert metrics.downlink_bits[late][0] < traffic.broadcast_bits[late][0]
        assert 0 < metrics.downlink_formula_bits[late][0] <= 5e3
        assert metrics.uplink_bits[late][0] == 0
        assert traffic.uploads.kind[late] == Kind.NOTHING


def test_where_nothing_can_be_sent_nothing_is_counted_or_done():
    built = build({}, deadline=1e-6)
    for before, after, metrics, *_ in by_round(built, 4):
        assert not metrics.received.any()
        assert not after.contacted.any()
        assert_same(before.store, after.store)
        assert_same(before.server, after.server)
        for bits in (
            *(metrics.uplink_bits, metrics.downlink_bits),
            *(metrics.uplink_formula_bits, metrics.downlink_formula_bits),
            *(metrics.fedavg_bits, metrics.fedavg_formula_bits),
        ):
            assert (bits == 0).all()
        assert metrics.needed_steps == metrics.executed_steps == 0


@pytest.mark.parametrize("plan", [("map", 1), ("vmap", 3), ("vmap", 3, "packed")])
def test_clients_that_are_away_do_no_work(plan):
    changes = {"network.dropout": 0.6, "partition.num_clients": 6, "rounds": 4}
    axis = {"execution.client_axis": plan[0], "execution.chunk": plan[1]}
    layout = plan[2] if len(plan) > 2 else "sorted"
    axis["execution.layout"] = layout
    built = experiment.build(replace(SMALL, changes | axis))
    sizes, steps_of = np.array(built.program.sizes), lambda n: -(-n // 32)
    state, seen = built.program.start(built.weights), set()
    for _ in range(4):
        state, output = built.program.advance(state, 1)
        metrics = jax.tree.map(lambda x: np.asarray(x[0]), output.metrics)
        steps = np.sort(steps_of(sizes[metrics.clients[metrics.present]]))[::-1]
        assert metrics.needed_steps == steps.sum()
        # The absent come last, so that whole chunks of them are passed over.
        sequential = occupancy(steps[None], plan[1], layout).sequential[0] if len(steps) else 0
        assert metrics.executed_steps == sequential * plan[1]
        seen.add(len(steps))
    assert len(seen) > 1


def test_every_plan_gives_the_same_with_clients_away():
    found = []
    packed = {"execution.chunk": 2, "execution.layout": "packed"}
    for axis in ({"execution.client_axis": "map"}, {"execution.chunk": 3}, packed):
        changes = {"network.dropout": 0.5, "network.loss": 0.2, "execution.client_axis": None}
        one = experiment.build(replace(SMALL, changes | axis | {"algorithm.name": "fedavg"}))
        state, output = one.program.advance(one.program.start(one.weights), 4)
        found.append((state.server.weights, output.metrics.arrived.sum(axis=1)))
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found[0], other)


def test_a_client_that_will_not_make_it_with_weights_is_asked_for_its_codebook():
    changes = {
        "schedule.uplink": "in_time",
        "schedule.client_period": 1,
        "schedule.server_period": 1000,
        "network.deadline": 0.26,
    }
    # A codebook's download takes a round trip too: with it, weights come too late.
    built = build(changes, uplink=np.full(CLIENTS, 1e5), downlink=np.full(CLIENTS, 1e9))
    rounds = list(by_round(built, 6))
    for _, _, metrics, traffic, _ in rounds[2:]:
        assert (traffic.broadcast.kind == Kind.CODEBOOK).all()
        assert (traffic.uploads.kind == Kind.CODEBOOK).all()
        assert metrics.arrived.all()


@pytest.mark.parametrize("name", ["weight_clustering", "fedavg"])
def test_in_time_holds_for_algorithms_with_a_schedule_of_their_own(name):
    changes = {"schedule.uplink": "in_time", "network.deadline": 3.0}
    built = build(changes, algorithm=name, uplink=np.array([1e6, 1e6, 1e3, 1e6]))
    asked_for_less = Kind.CODEBOOK if name == "weight_clustering" else Kind.NOTHING
    for *_, metrics, traffic, order in by_round(built, 2):
        expected = np.where(order == 2, asked_for_less, Kind.WEIGHTS)
        assert traffic.uploads.kind.tolist() == expected.tolist()
        assert metrics.arrived.all()


def poisoned(algorithm, client):
    """The algorithm with a client whose trained weights are no numbers."""

    def init(weights, num_clients):
        server, store = algorithm.init(weights, num_clients)
        return server, (jnp.arange(num_clients), store)

    def receive(stored, message, common):
        return algorithm.receive(stored[1], message, common)

    def upload(stored, work, exchange, key):
        number, own = stored
        bad = jax.tree.map(lambda x: jnp.where(number == client, jnp.nan, x), work.trained)
        message, own = algorithm.upload(own, work._replace(trained=bad), exchange, key)
        return message, (number, own)

    def report(server, store):
        return algorithm.report(server, store[1])

    return algorithm._replace(init=init, receive=receive, upload=upload, report=report)


@pytest.mark.parametrize("name", ["fedavg", "fedcode"])
def test_a_diverged_client_that_is_not_heard_does_not_poison_the_server(name):
    slow = np.array([1e6, 1e6, 10.0, 1e6])
    built = build({"network.deadline": 5.0}, algorithm=name, uplink=slow)
    program = dataclasses.replace(built.program, algorithm=poisoned(built.program.algorithm, 2))
    heard, poison = (dataclasses.replace(built, program=one) for one in (built.program, program))
    ends = [list(by_round(one, 3))[-1] for one in (heard, poison)]
    for _, after, metrics, _, order in ends:
        assert metrics.arrived.tolist() == (order != 2).tolist()
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.server))
    assert_same(ends[0][1].server, ends[1][1].server)


@pytest.mark.parametrize(("way", "asked"), [("up", True), ("down", False)])
def test_who_is_asked_goes_by_the_size_of_uploads_not_of_broadcasts(way, asked):
    """Small changes up are in time where floats are not, and the other way round."""
    changes = {
        "schedule.uplink": "in_time",
        "network.deadline": 0.2,
        "algorithm.name": "fedavg",
        f"algorithm.{way}.name": "topk",
        "execution.client_axis": "map",
    }
    built = experiment.build(replace(SMALL, changes))
    _, output = built.program.advance(built.program.start(built.weights), 2)
    metrics = output.metrics
    assert (metrics.uplink_bits > 0).all() == asked
    assert (metrics.uploaded_weights == (CLIENTS if asked else 0)).all()


def test_nobody_waits_for_an_upload_that_is_not_sent():
    built = build({}, algorithm="fedavg_every", loss=0.5, deadline=1000.0)
    seconds = [float(metrics.timing.seconds) for *_, metrics, _, _ in by_round(built, 5)]
    # Weights go down in rounds 1 and 6, and up in round 5.
    assert 0 < seconds[0] < 1
    assert seconds[1:4] == [0, 0, 0]
    assert seconds[4] == 1000


def test_a_program_refuses_data_of_larger_clients_than_it_is_made_for():
    built = build({})
    data = built.program.data
    larger = data._replace(sizes=data.sizes.at[0].set(built.program.max_size + 1))
    with pytest.raises(ValueError, match="the program is for at most"):
        built.program.with_inputs(data=larger)
    with pytest.raises(TypeError, match="would change what is compiled"):
        built.program.with_inputs(cohort=1)
