"""The wire check finds what it is there to find."""

import dataclasses

import jax
import numpy as np
import pytest

from fedcode_jax import experiment
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import WireCheckError
from fedcode_jax.simulation import WireCheck
from fedcode_jax.wire import Kind

SMALL = replace(
    ExperimentConfig(),
    {
        "model.name": "mlp",
        "local.epochs": 1,
        "algorithm.num_clusters": 8,
        "algorithm.coding": "conditional",
        "partition.num_clients": 3,
    },
)


@pytest.fixture(scope="module")
def segment():
    built = experiment.build(SMALL)
    _, output = built.program.advance(built.program.start(built.weights), 5, traffic=True)
    return jax.device_get((output.traffic, output.metrics))


def test_a_run_passes_and_is_counted(segment):
    check = WireCheck()
    check.take(*segment, first_round=1)
    assert check.messages == 5 * 3 * 2
    assert check.encoded_bytes == pytest.approx(check.counted_bytes, rel=0.01)


def test_a_miscounted_message_is_found_by_its_round_and_client(segment):
    traffic, metrics = segment
    bits = np.array(traffic.upload_bits)
    bits[3, 1] = int(1.05 * bits[3, 1])
    client = metrics.clients[3, 1]
    with pytest.raises(WireCheckError, match=f"round 4, from client {client}: counted"):
        WireCheck().take(traffic._replace(upload_bits=bits), metrics, first_round=1)


def test_a_wrong_reference_is_found(segment):
    traffic, metrics = segment
    # As if the server had forgotten that it sent weights in round 2.
    kinds = np.array(traffic.uploads_given.kind)
    assert (kinds[1] == Kind.WEIGHTS).all()
    kinds[1] = Kind.NOTHING
    forgotten = dataclasses.replace(traffic.uploads_given, kind=kinds)
    with pytest.raises(WireCheckError, match=r"round 2, from client .: counted"):
        WireCheck().take(traffic._replace(uploads_given=forgotten), metrics, first_round=1)


def test_what_both_sides_hold_is_the_last_weights_message_in_either_direction(segment):
    traffic, metrics = segment
    down, up = traffic.broadcast, traffic.uploads
    server, clients = metrics.exchange
    codes = lambda message, t, i: message.sections[0].codes[t][i]  # noqa: E731
    held = None
    for t in range(5):
        given = traffic.broadcast_given
        assert int(given.kind[t][0]) == (Kind.NOTHING if held is None else Kind.WEIGHTS)
        if held is not None:
            np.testing.assert_array_equal(codes(given, t, 0), held)
        if server[t]:
            held = down.sections[0].codes[t]
        np.testing.assert_array_equal(codes(traffic.uploads_given, t, 0), held)
        if clients[t]:
            held = codes(up, t, 0)
    assert server.tolist() == [True, True, False, False, True]
    assert clients.tolist() == [True, True, False, True, False]
