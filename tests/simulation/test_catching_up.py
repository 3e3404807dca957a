"""A compressed downlink under partial participation, replayed from its bytes alone."""

import jax
import numpy as np
import pytest

from fedcode_jax import algorithms, experiment, wire
from fedcode_jax.compress import codebook, error_feedback, topk
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.simulation import WireCheck
from fedcode_jax.simulation.state import NEVER
from fedcode_jax.wire import Kind, Message

CLIENTS, COHORT, ROUNDS = 50, 5, 30
CONFIG = replace(
    ExperimentConfig(),
    {
        "rounds": ROUNDS,
        "clients_per_round": COHORT,
        "model.name": "mlp",
        "local.epochs": 1,
        "partition.num_clients": CLIENTS,
        "network.dropout": 0.1,
        "network.loss": 0.1,
    },
)
CASES = {
    "codebooks": (error_feedback(codebook(3)), codebook(3)),
    "sparse": (None, topk(0.02)),
}


def remembering_starts(algorithm):
    """The algorithm, whose clients also keep what they last started from."""

    def init(weights, num_clients):
        server, store = algorithm.init(weights, num_clients)
        starts = jax.tree.map(lambda x: np.zeros((num_clients, *x.shape), x.dtype), weights)
        return server, (starts, store)

    def receive(stored, message, common):
        return algorithm.receive(stored[1], message, common)

    def upload(stored, work, exchange, key):
        message, own = algorithm.upload(stored[1], work, exchange, key)
        return message, (work.start.weights, own)

    def report(server, store):
        return algorithm.report(server, store[1])

    def lost(stored, message):
        return stored[0], algorithm.lost(stored[1], message)

    return algorithm._replace(
        init=init,
        receive=receive,
        upload=upload,
        report=report,
        lost=None if algorithm.lost is None else lost,
    )


class Replay:
    """What clients hold, made of nothing but the bytes that each of them was sent."""

    def __init__(self, algorithm, weights):
        _, store = algorithm.init(weights, 1)
        self.stored = jax.tree.map(lambda x: x[0], store)
        self.receive = algorithm.receive
        self.nothing = jax.tree.map(lambda x: np.full(x.shape, np.nan, x.dtype), weights)
        self.held = {}  # client -> weights
        self.last = {}  # client -> broadcasts that it has
        self.broadcasts = []

    def decoded(self, data, held):
        return self.receive(self.stored, wire.decode(data), held).weights

    def sent(self, client, whole):
        """The bytes that a client is sent, in order, and what it then holds."""
        if whole is not None:
            return [whole], self.decoded(whole, self.nothing)
        data, held = self.broadcasts[self.last[client] :], self.held[client]
        for each in data:
            held = self.decoded(each, held)
        return data, held


@pytest.mark.parametrize("case", CASES)
def test_every_client_starts_from_what_its_bytes_say(case):
    plain = algorithms.fedavg(*CASES[case])
    built = experiment.build(CONFIG, algorithm=remembering_starts(plain))
    program, check = built.program, WireCheck()
    state, replay = program.start(built.weights), Replay(plain, built.weights)
    wholes = catch_ups = plain_ones = 0
    for number in range(1, ROUNDS + 1):
        before = np.asarray(state.missed)
        state, output = program.advance(state, 1, traffic=True)
        check.take(output.traffic, output.metrics, number)
        metrics, traffic = jax.tree.map(
            lambda x: np.asarray(x[0]), (output.metrics, output.traffic)
        )
        broadcast = wire.encode(Message(traffic.broadcast_kind, traffic.broadcast.sections))
        replay.broadcasts.append(broadcast)
        starts = jax.tree.map(np.asarray, state.store[0])
        for place, client in enumerate(metrics.clients.tolist()):
            if not metrics.present[place]:
                assert metrics.downlink_bits[place] == 0
                continue
            whole = None
            if traffic.whole.kind[place] != Kind.NOTHING:
                whole = wire.encode(Message(traffic.whole.kind[place], traffic.whole.sections))
            data, held = replay.sent(client, whole)
            size = sum(map(len, data))
            assert abs(int(metrics.downlink_bits[place]) // 8 - size) <= 4 * len(data)
            jax.tree.map(
                lambda a, b, c=client: np.testing.assert_array_equal(a[c], b), starts, held
            )
            replay.held[client], replay.last[client] = held, number
            # It was the cheaper of the two.
            if before[client] != NEVER:
                missed = int(before[client]) // 8 + len(broadcast)
                other = len(wire.encode(Message(np.int32(Kind.WEIGHTS), traffic.whole.sections)))
                assert (whole is not None) == (other < missed)
            wholes += whole is not None
            catch_ups += whole is None and len(data) > 1
            plain_ones += whole is None and len(data) == 1
    assert wholes >= len(replay.held)  # every first contact
    assert catch_ups > 20
    assert check.messages == 2 * COHORT * ROUNDS
    held = sorted(replay.held)
    assert (np.asarray(state.missed)[held] != NEVER).all()
    assert np.flatnonzero(state.contacted).tolist() == held


def test_missed_bits_add_up_and_run_over_into_the_whole():
    from fedcode_jax.simulation.delivery import added

    missed = np.uint32([0, 7, NEVER, NEVER - 8, NEVER - 7])
    assert added(missed, np.uint32(8)).tolist() == [8, 15, NEVER, NEVER, NEVER]
