"""LBGM against rounds in NumPy, whose server reads bytes and keeps what it has read by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounds import CLIENTS, SAMPLES, made, one_round, weights
from rounds import exchange as exchanged

from fedcode_jax import algorithms, wire
from fedcode_jax.algorithms import Start, Work
from fedcode_jax.algorithms.lbgm import look_back
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment import build
from fedcode_jax.wire import Kind

SENDS = exchanged(True, True)
STATS, N = 10, 115  # of the model of ``rounds``
THRESHOLD = 0.3
FAILING = replace(
    ExperimentConfig(),
    {
        "seed": 2,
        "rounds": 12,
        "clients_per_round": 4,
        "model.name": "mlp",
        "data.name": "synthetic",
        "data.shape": (6,),
        "data.num_classes": 3,
        "data.train_size": 200,
        "partition.num_clients": 5,
        "local.optimizer": "sgd",
        "local.learning_rate": 0.05,
        "local.epochs": 1,
        "network.loss": 0.35,
        "network.dropout": 0.15,
        "algorithm.name": "lbgm",
        "algorithm.threshold": THRESHOLD,
    },
)


def trained(algorithm, tree, change):
    """The weights with a change f32[N] of what is trained, and 0.5 more in the statistics."""
    layout = algorithms.Layout.of(tree, algorithms.parse("kernel+bias+norm=dense,stats=dense"))
    own, stats = layout.split(tree)
    return layout.join((own + jnp.float32(change), stats + 0.5))


def vectors(tree):
    layout = algorithms.Layout.of(tree, algorithms.parse("kernel+bias+norm=dense,stats=dense"))
    return [np.float64(vector) for vector in layout.split(tree)]


class Server:
    """A server that is sent bytes, and holds the latest change of every client that came whole."""

    def __init__(self, clients, size):
        self.latest = np.zeros((clients, size))

    def read(self, client, data):
        """The change that a message stands for, and how many floats it took."""
        message = wire.decode(data)
        sections = [np.float64(section.values) for section in message.sections]
        if message.kind == Kind.UPDATE:
            self.latest[client] = sections.pop(0)
            return self.latest[client], sections[1:]
        assert message.kind == Kind.CODEBOOK
        (rho,), *others = sections
        return rho * self.latest[client], others


def rule(change, latest):
    """What the paper says of one client: the number, and whether it will do."""
    norms = np.linalg.norm(change), np.linalg.norm(latest)
    if norms[1] == 0:
        return 0.0, False
    cosine = change @ latest / np.prod(norms)
    return change @ latest / norms[1] ** 2, 1 - cosine**2 <= THRESHOLD


def test_rounds_are_those_of_a_server_that_keeps_what_it_has_read():
    """Changes turn slowly; some uploads are lost, and some clients away."""
    algorithm, rng = algorithms.lbgm(THRESHOLD), np.random.default_rng(0)
    server, store = algorithm.init(weights(), CLIENTS)
    other, held = Server(CLIENTS, N), np.zeros((CLIENTS, N))
    upload, heard = jax.jit(algorithm.upload), jax.jit(algorithm.heard)
    directions, kinds = rng.normal(size=(CLIENTS, N)), []
    for number in range(10):
        directions += 0.35 * rng.normal(size=directions.shape)
        message, _ = algorithm.broadcast(server, SENDS, jax.random.key(number))
        before, reads, given = vectors(server.weights), [], []
        for client in range(CLIENTS):
            stored = jax.tree.map(lambda x, client=client: x[client], store)
            start = algorithm.receive(stored, message, None)
            change = rng.uniform(-2, 2) * directions[client]
            work = Work(start, trained(algorithm, start.weights, change), 1, 0.1, 0.0)
            sent, after = upload(stored, work, SENDS, jax.random.key(0))
            change = np.float64(sent.sections[0].values)
            rho, enough = rule(change, held[client])
            kinds.append(int(sent.kind))
            assert kinds[-1] == (Kind.CODEBOOK if enough else Kind.UPDATE)
            np.testing.assert_allclose(sent.sections[1].values, rho, rtol=1e-5)
            arrived = rng.random() > 0.3
            carried = wire.only_carried(sent, arrived)
            read, agreed = heard(after, carried)
            if arrived:
                move, (stats,) = other.read(client, wire.encode(sent))
                given.append((float(SAMPLES[client]), move, stats))
                held[client] = change if not enough else held[client]
                np.testing.assert_allclose(read.sections[0].values, move, rtol=1e-6)
                store = jax.tree.map(lambda s, x, c=client: s.at[c].set(x), store, agreed)
                reads.append(read)
            else:
                assert sent.kind != Kind.NOTHING
                assert jax.tree.all(jax.tree.map(np.array_equal, after, stored))
                reads.append(carried)
        messages = jax.tree.map(lambda *leaves: jnp.stack(leaves), *reads)
        server = algorithm.aggregate(server, messages, SAMPLES, SENDS)
        total = sum(count for count, *_ in given)
        for i, own in enumerate(before):
            expected = own + sum(count * parts[i] for count, *parts in given) / total
            np.testing.assert_allclose(vectors(server.weights)[i], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(store.vector, np.float32(other.latest))
        np.testing.assert_array_equal(other.latest, held)
    assert 5 < kinds.count(Kind.CODEBOOK) < len(kinds) - 5


def test_messages_take_a_number_or_all_and_statistics_in_any_case():
    algorithm = made("lbgm")
    _, store = algorithm.init(weights(), CLIENTS)
    stored = jax.tree.map(lambda x: x[0], store)
    start = algorithms.Start(weights())
    change = np.linspace(-1, 1, N)
    work = Work(start, trained(algorithm, start.weights, change), 1, 0.1, 0.0)
    small = 9 + 5 + 4 + 5 + 4 * STATS
    for kind, size in ((Kind.UPDATE, small + 5 + 4 * N), (Kind.CODEBOOK, small)):
        message, stored = algorithm.upload(stored, work, SENDS, jax.random.key(0))
        assert (message.kind, int(wire.size_bits(message)) // 8) == (kind, size)
        assert len(wire.encode(message)) == size
        _, stored = algorithm.heard(stored, wire.only_carried(message))


def test_who_is_not_asked_for_weights_sends_a_number_if_it_will_do():
    algorithm = made("lbgm")
    _, store = algorithm.init(weights(), CLIENTS)
    stored = jax.tree.map(lambda x: x[0], store)
    start, quiet = algorithms.Start(weights()), exchanged(True, False)
    work = Work(start, trained(algorithm, start.weights, np.ones(N)), 1, 0.1, 0.0)
    first, _ = algorithm.upload(stored, work, quiet, jax.random.key(0))
    whole, _ = algorithm.upload(stored, work, SENDS, jax.random.key(0))
    _, stored = algorithm.heard(stored, whole)
    then, _ = algorithm.upload(stored, work, quiet, jax.random.key(0))
    assert (first.kind, whole.kind, then.kind) == (Kind.NOTHING, Kind.UPDATE, Kind.CODEBOOK)


@pytest.mark.parametrize(
    ("change", "latest", "expected"),
    [
        ([0.0, 0.0], [0.0, 0.0], (0, np.inf)),
        ([1.0, 0.0], [0.0, 0.0], (0, np.inf)),
        ([0.0, 0.0], [1.0, 0.0], (0, 0)),
        ([-3.0, 0.0], [1.0, 0.0], (-3, 0)),
        ([0.0, 2.0], [1.0, 0.0], (0, 1)),
        ([3e-15, 3e-15], [1e-15, 0.0], (3, 0.5)),
        ([0.0, 1e-23], [1e-18, 0.0], (0, 1)),
        ([3e30, 3e30], [1e30, 0.0], (3, 0.5)),
        ([1e20, 0.0], [1e-30, 0.0], (np.inf, np.inf)),
    ],
)
def test_how_far_a_change_is_from_a_multiple_of_another(change, latest, expected):
    found = look_back(jnp.array(change), jnp.array(latest))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture(scope="module")
def played():
    """Every round of a run over links that fail: what came before and after, and its messages."""
    built = build(FAILING)
    state, rounds = built.program.start(built.weights), []
    for _ in range(FAILING.rounds):
        before = jax.tree.map(np.array, state)
        state, output = built.program.advance(state, 1, traffic=True)
        rows = jax.tree.map(lambda x: np.array(x[0]), (output.metrics, output.traffic))
        rounds.append((before, jax.tree.map(np.array, state), *rows))
    return rounds


def test_runs_over_links_that_fail_are_rounds_of_a_server_that_reads_bytes(played):
    other, kinds = Server(5, played[0][0].store.vector.shape[1]), []
    for before, after, metrics, traffic in played:
        start, given = vectors(before.server.weights)[0], []
        for place, client in enumerate(metrics.clients):
            sent = jax.tree.map(lambda x, place=place: x[place], traffic.uploads)
            if not metrics.arrived[place]:
                assert np.array_equal(before.store.vector[client], after.store.vector[client])
                continue
            data = wire.encode(sent)
            assert metrics.uplink_bits[place] == 8 * len(data)
            change = np.float64(sent.sections[0].values)
            rho, enough = rule(change, other.latest[client])
            assert sent.kind == (Kind.CODEBOOK if enough else Kind.UPDATE)
            np.testing.assert_allclose(sent.sections[1].values, rho, rtol=1e-4)
            given.append((metrics.num_samples[place], other.read(client, data)[0]))
            kinds.append((int(sent.kind), len(data)))
        whole = sum(kind == Kind.UPDATE for kind, _ in kinds[-len(given) :]) if given else 0
        assert metrics.uploaded_weights == whole
        total = max(sum(count for count, _ in given), 1)
        expected = start + sum(count * move for count, move in given) / total
        np.testing.assert_allclose(vectors(after.server.weights)[0], expected, atol=1e-6)
        np.testing.assert_array_equal(after.store.vector, np.float32(other.latest))
    size = 9 + 5 + 4, 9 + 5 + 4 + 5 + 4 * other.latest.shape[1]
    assert set(kinds) == {(Kind.CODEBOOK, size[0]), (Kind.UPDATE, size[1])}
    lost = [metrics.received & ~metrics.arrived for *_, metrics, _ in played]
    assert np.any(lost)


def test_where_no_error_is_allowed_it_is_fedavg():
    ends = []
    for algorithm in (algorithms.lbgm(0.0), algorithms.fedavg()):
        server, store = algorithm.init(weights(), CLIENTS)
        after = jax.jit(lambda *own, a=algorithm: one_round(a, *own, SENDS, False)[-2:])
        for _ in range(2):
            server, store = after(server, store)
        ends.append(server.weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *ends)
    assert np.abs(vectors(ends[0])[0] - vectors(weights())[0]).max() > 0.05


def test_where_any_error_is_allowed_the_first_change_is_sent_all_the_same():
    algorithm, start = algorithms.lbgm(1.0), {"params": {"kernel": jnp.zeros(2)}}
    _, store = algorithm.init(start, 1)
    stored = jax.tree.map(lambda x: x[0], store)
    read = []
    for change in ([4.0, 0.0], [2.0, 0.5]):
        trained = {"params": {"kernel": jnp.array(change)}}
        work = Work(Start(start), trained, jnp.int32(1), jnp.float32(0.1), jnp.float32(0))
        upload, stored = algorithm.upload(stored, work, SENDS, jax.random.key(0))
        message, stored = algorithm.heard(stored, wire.only_carried(upload))
        read.append(message.sections[0].values.tolist())
    assert read == [[4.0, 0.0], [2.0, 0.0]]


def test_a_threshold_that_is_none_is_refused():
    for value in (-0.1, 1.5, "x"):
        with pytest.raises(ConfigError, match=r"^algorithm\.threshold: "):
            algorithms.lbgm(value)
        with pytest.raises(ConfigError, match=r"^algorithm\.threshold: "):
            replace(ExperimentConfig(), {"algorithm.name": "lbgm", "algorithm.threshold": value})


def test_what_a_reading_gives_is_checked_by_its_shape():
    algorithm = made("lbgm")._replace(heard=lambda stored, message: (stored, stored))
    with pytest.raises(ConfigError, match=r"algorithm\.heard: the message must have"):
        algorithms.check_contract(algorithm, weights())
