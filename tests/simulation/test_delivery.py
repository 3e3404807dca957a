"""Rounds in which clients are away, uploads are lost, or come too late."""

import jax
import numpy as np
import pytest
from deliveries import CLIENTS, assert_same, build, by_round, flat, row

from fedcode_jax import wire
from fedcode_jax.wire import Kind


def test_who_is_away_sends_and_receives_nothing_and_keeps_what_it_has():
    built = build({"network.dropout": 0.5}, coding="conditional")
    patterns = set()
    for before, after, metrics, traffic, order in by_round(built, 6):
        patterns.add(tuple(metrics.present))
        for place, client in enumerate(order):
            first = not before.contacted[client]
            if metrics.present[place]:
                assert after.contacted[client]
                assert metrics.downlink_bits[place] > 0
                assert metrics.uplink_bits[place] > 0
                # A newcomer is sent weights, whatever the round.
                assert not first or traffic.broadcast.kind[place] == Kind.WEIGHTS
                continue
            assert after.contacted[client] == before.contacted[client]
            assert_same(row(before.store, client), row(after.store, client))
            assert_same(row(before.known, client), row(after.known, client))
            bits = (metrics.uplink_bits, metrics.downlink_bits, traffic.upload_bits)
            formula = (metrics.uplink_formula_bits, metrics.downlink_formula_bits)
            assert [int(each[place]) for each in bits + formula] == [0] * 5
            kinds = traffic.uploads.kind[place], traffic.broadcast.kind[place]
            assert kinds == (Kind.NOTHING, Kind.NOTHING)
        shares = metrics.num_samples * metrics.present
        assert np.isfinite(metrics.train_loss) or shares.sum() == 0
    assert len(patterns) > 2


def test_a_lost_message_is_remembered_by_neither_side():
    built = build({"network.loss": 0.5}, coding="conditional")
    lost = 0
    for _, after, metrics, traffic, order in by_round(built, 6):
        for place, client in enumerate(order):
            up, both = row(traffic.uploads, place), row(traffic.uploads_given, place)
            arrived = bool(metrics.arrived[place])
            held = wire.remember(both, up) if arrived else both
            held = jax.tree.map(np.asarray, held)
            assert_same(held, row(after.known, client))
            lost += up.kind == Kind.WEIGHTS and not arrived
            # The client keeps what it has trained, whether it arrived or not.
            assert_same(row(after.store, client).parts[0].codes, up.sections[0].codes)
    assert lost > 2


def test_fedcode_averages_what_arrived_of_weights_and_of_codebooks():
    built = build({"network.loss": 0.4})
    kinds = set()
    for before, after, metrics, traffic, _ in by_round(built, 6):
        arrived = metrics.arrived
        coded, own = traffic.uploads.sections[0], before.server.weights["params"]
        layers = ("dense1", "head")
        own = np.concatenate([np.ravel(own[layer]["kernel"]) for layer in layers])
        found = after.server.weights["params"]
        found = np.concatenate([np.ravel(found[layer]["kernel"]) for layer in layers])
        came = np.flatnonzero(arrived)
        if len(came) == 0:
            np.testing.assert_array_equal(found, own)
        elif metrics.exchange.clients_send_weights:
            shares = metrics.num_samples[came] / metrics.num_samples[came].sum()
            values = [coded.centers[i][coded.codes[i]] for i in came]
            np.testing.assert_allclose(found, shares @ np.float64(values), atol=1e-6)
        else:
            union = np.unique(coded.centers[came])
            nearest = union[np.argmin(np.abs(own[:, None] - union), axis=1)]
            np.testing.assert_allclose(found, nearest, atol=1e-7)
        kinds.add((bool(metrics.exchange.clients_send_weights), len(came) == CLIENTS))
    assert {(True, False), (False, False)} <= kinds


def test_in_time_the_slow_send_codebooks_and_the_server_averages_weights():
    changes = {
        "schedule.client_period": 1,
        "schedule.uplink": "in_time",
        "network.deadline": 3.0,
    }
    built = build(changes, uplink=np.array([1e6, 1e6, 1e3, 1e6]))
    for _, after, metrics, traffic, order in by_round(built, 3):
        slow = order == 2
        assert bool(metrics.exchange.clients_send_weights)
        assert (traffic.uploads.kind == np.where(slow, Kind.CODEBOOK, Kind.WEIGHTS)).all()
        assert metrics.arrived.all()  # its codebook takes a third of a second
        assert metrics.uploaded_weights == CLIENTS - 1
        assert traffic.upload_bits[slow] == 8 * (9 + 3 + 4 * 8)
        shares = np.float64(metrics.num_samples * ~slow)
        coded, dense = traffic.uploads.sections
        values = np.take_along_axis(coded.centers, coded.codes.astype(int), axis=1)
        found = after.server.weights["params"]
        kernels = [np.ravel(found[layer]["kernel"]) for layer in ("dense1", "head")]
        biases = [np.ravel(found[layer]["bias"]) for layer in ("dense1", "head")]
        for part, sent in [(kernels, values), (biases, dense.values)]:
            mean = shares @ np.float64(sent) / shares.sum()
            np.testing.assert_allclose(np.concatenate(part), mean, atol=1e-6)
    # Asked for weights all the same, the slow one delivers nothing.
    built = build(changes | {"schedule.uplink": "all"}, uplink=np.array([1e6, 1e6, 1e3, 1e6]))
    for *_, metrics, traffic, order in by_round(built, 2):
        assert (traffic.uploads.kind == Kind.WEIGHTS).all()
        assert metrics.arrived.tolist() == (order != 2).tolist()


@pytest.mark.parametrize("algorithm", ["fedcode", "fedavg"])
@pytest.mark.parametrize("cause", ["dropout", "loss", "deadline"])
def test_where_nothing_arrives_the_server_stays_as_it_is(algorithm, cause):
    value = np.float32(1e-6 if cause == "deadline" else 1.0)
    built = build({}, algorithm=algorithm, **{cause: value})
    rounds = list(by_round(built, 2))
    for before, after, metrics, *_ in rounds:
        assert not metrics.arrived.any()
        assert_same(before.server, after.server)
        assert metrics.uploaded_weights == 0
        assert (metrics.uplink_bits.sum() > 0) == (cause == "loss")


def test_fedavg_averages_what_arrived():
    built = build({"network.loss": 0.4}, algorithm="fedavg")
    counts = set()
    for before, after, metrics, traffic, _ in by_round(built, 6):
        arrived = metrics.arrived
        counts.add(int(arrived.sum()))
        assert metrics.uploaded_weights == arrived.sum()
        # What is lost was sent.
        assert (metrics.uplink_bits == traffic.upload_bits).all()
        assert (traffic.uploads.kind == Kind.WEIGHTS).all()
        found = flat(after.server.weights)
        if not arrived.any():
            np.testing.assert_array_equal(found, flat(before.server.weights))
            continue
        shares = np.float64(metrics.num_samples * arrived)
        mean = shares @ np.float64(traffic.uploads.sections[0].values) / shares.sum()
        np.testing.assert_allclose(found, mean, atol=1e-6)
    assert len(counts) > 1


SLOW = np.array([1e6, 1e6, 1e4, 1e6])  # bits/s up; the third client's upload takes minutes


def test_a_slow_upload_never_arrives_and_is_counted_as_far_as_it_came():
    built = build({"network.deadline": 5.0}, algorithm="fedavg", uplink=SLOW)
    for _, after, metrics, traffic, order in by_round(built, 3):
        late = order == 2
        assert metrics.arrived.tolist() == (~late).tolist()
        assert float(metrics.timing.seconds) == 5
        whole = traffic.upload_bits
        assert (metrics.uplink_bits[~late] == whole[~late]).all()
        # The rest of the 5 s after the download and two round trips, in whole bytes.
        sending = 5 - 2 * 0.05 - float(metrics.downlink_bits[late][0]) / 1e7
        expected = sending * 1e4 // 8 * 8
        assert abs(int(metrics.uplink_bits[late][0]) - expected) <= 16
        assert metrics.uplink_bits[late][0] < whole[late][0]
        shares = np.float64(metrics.num_samples * ~late)
        mean = shares @ np.float64(traffic.uploads.sections[0].values) / shares.sum()
        np.testing.assert_allclose(flat(after.server.weights), mean, atol=1e-6)
