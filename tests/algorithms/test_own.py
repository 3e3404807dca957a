"""Methods of a researcher's own, in files outside the package, against NumPy in float64.

The second implementations share with the package only random numbers: who takes part, the order of
samples, whose upload is lost. As in ``test_oracle``, each round starts from the package's state
before it, so that an error shows where it arises.
"""

import ast
import importlib
import pathlib
from typing import NamedTuple

import fedprox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scaffold
import topk_feedback

import fedcode_jax
from fedcode_jax import algorithms, network, schedules, wire
from fedcode_jax.algorithms import Work
from fedcode_jax.clients.batches import shuffles
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.experiment import build
from fedcode_jax.simulation.opening import sample_cohort

CLIENTS, EPOCHS, BATCH, RATE, MU, K = 5, 2, 32, 0.05, 4.0, 240
SHAPES = [(64,), (64, 64), (10,), (64, 10)]  # bias and kernel of the hidden layer, of the head
N = sum(np.prod(shape) for shape in SHAPES)

CONFIG = replace(
    ExperimentConfig(),
    {
        "seed": 4,
        "rounds": 5,
        "clients_per_round": 4,
        "partition.name": "dirichlet",
        "partition.num_clients": CLIENTS,
        "model.name": "mlp",
        "local.optimizer": "sgd",
        "local.learning_rate": RATE,
        "local.epochs": EPOCHS,
        "local.batch_size": BATCH,
    },
)
FAILING = replace(CONFIG, {"network.loss": 0.35, "network.dropout": 0.15})
EVERYBODY = replace(CONFIG, {"clients_per_round": None, "rounds": 3})


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def flat_rows(store):
    """What each client keeps, as a vector."""
    return np.concatenate(
        [leaf.reshape(CLIENTS, -1) for leaf in jax.tree.leaves(store)], axis=1, dtype=np.float64
    )


def gradient(w, x, y):
    """Of the mean cross-entropy of a perceptron with one hidden layer, by hand."""
    ends = np.cumsum([np.prod(shape) for shape in SHAPES])
    parts = zip(np.split(w, ends[:-1]), SHAPES, strict=True)
    bias, kernel, head_bias, head = (part.reshape(shape) for part, shape in parts)
    before = x @ kernel + bias
    hidden = np.maximum(before, 0)
    logits = hidden @ head + head_bias
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    p /= len(y)
    back = (p @ head.T) * (before > 0)
    parts = back.sum(axis=0), x.T @ back, p.sum(axis=0), hidden.T @ p
    return np.concatenate([part.ravel() for part in parts])


class Client(NamedTuple):
    """One that received what it was sent: its number, place, samples, and whether it is heard."""

    number: int
    place: int
    samples: int
    steps: int
    batches: list
    arrived: bool

    def train(self, start, further=lambda w: 0.0):
        """SGD from ``start``, with something further added to every gradient."""
        w = start.astype(np.float64)
        for x, y in self.batches:
            w = w - RATE * (gradient(w, x, y) + further(w))
        return w


class Round(NamedTuple):
    before: object
    after: object
    sections: tuple  # of the uploads, as they were sent
    clients: list


def batches_of(x, y, key):
    orders = np.asarray(shuffles(jax.random.fold_in(key, 0), len(y), len(y), EPOCHS))
    return [
        (x[rows], y[rows])
        for order in orders
        for rows in np.split(order, range(BATCH, len(y), BATCH))
    ]


def played(config, algorithm, up, down):
    """Plays a config round by round, then as a run, and holds the two and their bytes together.

    ``up`` is (sections, place) -> bytes of an upload, ``down`` the bytes of a broadcast.
    """
    built = build(config, algorithm=algorithm)
    data, program = built.dataset, built.program
    x = ((data.train_x - data.mean) / data.std).reshape(data.num_train, -1).astype(np.float64)
    root, state, sizes = jax.random.key(config.seed), program.start(built.weights), []
    cohort_size, heard = config.clients_per_round or CLIENTS, []
    for number in range(1, config.rounds + 1):
        key = [jax.random.fold_in(jax.random.fold_in(root, i), number) for i in range(4)]
        cohort = sample_cohort(key[0], CLIENTS, cohort_size)
        met = network.conditions(program.settings.links, cohort, key[3])
        before = jax.tree.map(np.array, state)
        state, output = program.advance(state, 1, traffic=True)
        traffic = jax.tree.map(lambda leaf: np.array(leaf[0]), output.traffic)
        places = {int(client): i for i, client in enumerate(output.metrics.clients[0])}
        assert sorted(places) == np.asarray(cohort).tolist()
        clients = []
        for client, away, lost in zip(*map(np.asarray, (cohort, met.away, met.lost)), strict=True):
            if away:
                continue
            rows = built.partition.clients[client]
            own = jax.random.fold_in(jax.random.fold_in(key[2], int(client)), 0)
            batches = batches_of(x[rows], data.train_y[rows], own)
            steps = EPOCHS * -(-len(rows) // BATCH)
            assert len(batches) == steps
            clients.append(Client(client, places[int(client)], len(rows), steps, batches, not lost))
        sections = traffic.uploads.sections
        sizes.append((len(clients) * down, sum(up(sections, one.place) for one in clients)))
        heard += [one.arrived for one in clients]
        yield Round(before, jax.tree.map(np.array, state), sections, clients)

    # In rounds that can fail some did: of the messages both ways, and not all of them.
    fails = config.network.loss > 0
    assert (len(heard) < config.rounds * cohort_size, not all(heard)) == (fails, fails)
    assert any(heard)

    result = fedcode_jax.run(config, algorithm=algorithm, wire_check=True)
    records = [(record["downlink_bytes"], record["uplink_bytes"]) for record in result.records]
    assert records == sizes
    assert result.summary["status"] == "completed"
    assert result.summary["wire_check"]["encoded_bytes"] == sum(map(sum, sizes))
    reported, _ = algorithm.report(state.server, state.store)
    np.testing.assert_array_equal(flat(result.weights), flat(reported))


def assert_rounding(found, expected):
    """Equal as float32 training leaves it: off where a sample meets the kink of a relu."""
    differences = np.abs(found - expected)
    assert np.quantile(differences, 0.9) < 1e-5
    assert np.max(differences) < 2e-3


def mean(clients, vectors):
    """Of what arrived, weighted by samples."""
    pairs = [(one.samples, v) for one, v in zip(clients, vectors, strict=True) if one.arrived]
    return sum(n * v for n, v in pairs) / sum(n for n, _ in pairs) if pairs else np.zeros(N)


def floats(count, sections=1):
    """Bytes of a message of sections of floats, by FORMAT.md."""
    return 9 + sections * (5 + 4 * count)


def sparse(sections, place):
    """Bytes of a message of floats at positions, by FORMAT.md: fewer than half are listed."""
    positions = sections[0].positions[place].astype(int)
    gaps = np.diff(positions, prepend=-1) - 1
    bits = min(sum(len("1" * (g >> b) + "0") + b for g in gaps) for b in range(16))
    return 9 + 14 + 5 + max(-(-bits // 8), -(-len(gaps) // 1024)) + 4 * len(gaps)


@pytest.mark.parametrize(
    "made", [fedprox.fedprox, lambda mu: algorithms.fedavg(proximal=mu)], ids=["own", "ours"]
)
def test_fedprox_is_what_the_paper_says_and_stays_near_its_start(made):
    message = floats(N)
    for now in played(CONFIG, made(MU), lambda *_: message, message):
        start = flat(now.before.server.weights)
        held = [one.train(start, lambda w, start=start: MU * (w - start)) for one in now.clients]
        found = flat(now.after.server.weights)
        assert_rounding(found, mean(now.clients, held))
        free = mean(now.clients, [one.train(start) for one in now.clients])
        assert np.linalg.norm(found - start) < 0.5 * np.linalg.norm(free - start)


@pytest.mark.parametrize("made", [scaffold.scaffold, algorithms.scaffold], ids=["own", "ours"])
@pytest.mark.parametrize("config", [EVERYBODY, FAILING], ids=["everybody", "failing"])
def test_scaffold_is_what_the_paper_says_and_not_fedavg(config, made):
    message = floats(N, sections=2)
    rounds = played(config, made(), lambda *_: message, message)
    for number, now in enumerate(rounds, start=1):
        w, c = map(flat, now.before.server[:2])
        own = flat_rows(now.before.store)
        expected, moves, change = own.copy(), [], np.zeros(N)
        for one in now.clients:
            further = c - own[one.number]
            trained = one.train(w, lambda _, further=further: further)
            moves.append(trained - w)
            if one.arrived:
                delta = -c + (w - trained) / (one.steps * RATE)
                expected[one.number] += delta
                change += delta
        found, found_c = map(flat, now.after.server[:2])
        assert_rounding(found, w + mean(now.clients, moves))
        assert_rounding(found_c, c + change / CLIENTS)
        kept = flat_rows(now.after.store)
        for client in range(CLIENTS):
            assert_rounding(kept[client], expected[client])
        # What the server holds is the mean of what all clients hold, whatever was lost.
        np.testing.assert_allclose(found_c, np.mean(kept, axis=0), atol=1e-6)
        plain = w + mean(now.clients, [one.train(w) - w for one in now.clients])
        apart = np.linalg.norm(found - plain) / np.linalg.norm(plain - w)
        if number == 1:
            assert apart < 1e-3
        elif any(one.arrived for one in now.clients):
            assert apart > 0.05


@pytest.mark.parametrize("config", [EVERYBODY, FAILING], ids=["everybody", "failing"])
def test_feddyn_is_what_the_paper_says_and_not_fedavg(config):
    message, alpha = floats(N), 0.5
    for now in played(config, algorithms.feddyn(alpha), lambda *_: message, message):
        w, h = flat(now.before.server.weights), now.before.server.vector.astype(np.float64)
        own = flat_rows(now.before.store)
        expected, moves = own.copy(), []
        for one in now.clients:
            g = own[one.number]
            moves.append(one.train(w, lambda y, g=g, w=w: alpha * (y - w) - g) - w)
            if one.arrived:
                expected[one.number] = g - alpha * moves[-1]
        heard = [move for one, move in zip(now.clients, moves, strict=True) if one.arrived]
        if heard:
            h = h - alpha / CLIENTS * np.sum(heard, axis=0)
            w = w + np.mean(heard, axis=0) - h / alpha
        assert_rounding(flat(now.after.server.weights), w)
        assert_rounding(now.after.server.vector, h)
        kept = flat_rows(now.after.store)
        for client in range(CLIENTS):
            assert_rounding(kept[client], expected[client])


@pytest.mark.parametrize("config", [CONFIG, FAILING], ids=["arriving", "failing"])
def test_topk_with_feedback_is_what_the_paper_says(config):
    algorithm = topk_feedback.topk_feedback(K / N)
    for now in played(config, algorithm, sparse, floats(N)):
        w = flat(now.before.server)
        expected = flat_rows(now.before.store)
        sent = []
        for one in now.clients:
            total = one.train(w) - w + expected[one.number]
            section = now.sections[0]
            positions = section.positions[one.place]
            assert len(np.unique(positions)) == len(positions) == K
            # The K largest, but for those that rounding puts on either side of the last.
            smallest = np.sort(np.abs(total))[-K]
            left = np.delete(np.abs(total), positions)
            wrong = np.sum(np.abs(total[positions]) < smallest)
            assert wrong <= K // 40
            assert left.max() <= np.abs(total[positions]).min() + 2e-3
            values = np.zeros(N)
            values[positions] = total[positions]
            assert_rounding(section.values.values[one.place], total[positions])
            sent.append(values)
            expected[one.number] = total - values * one.arrived
        assert_rounding(flat(now.after.server), w + mean(now.clients, sent))
        kept = flat_rows(now.after.store)
        for client in range(CLIENTS):
            assert_rounding(kept[client], expected[client])


def test_residual_and_what_was_sent_are_the_update_and_the_earlier_residual():
    algorithm = topk_feedback.topk_feedback(0.25)
    weights = {"params": {"w": jnp.arange(8.0)}}
    server, _ = algorithm.init(weights, 1)
    earlier = {"params": {"w": jnp.array([0.5, 0, 0, 0, -2.0, 0, 0, 0.25])}}
    sends = schedules.always()(1)
    message, _ = algorithm.broadcast(server, sends, jax.random.key(0))
    start = algorithm.receive(earlier, message, None)
    update = jnp.array([1.0, -3.0, 0.5, 0.0, 0.5, 0.25, 0.0, 0.0])
    trained = {"params": {"w": weights["params"]["w"] + update}}
    work = Work(start, trained, jnp.int32(1), jnp.float32(0.1), jnp.float32(0))
    message, later = algorithm.upload(earlier, work, sends, jax.random.key(0))
    assert message.sections[0].positions.tolist() == [0, 1]  # -2.0 + 0.5 ties; the first is sent
    total = update + earlier["params"]["w"]
    np.testing.assert_array_equal(later["params"]["w"] + wire.values(message.sections[0]), total)
    np.testing.assert_array_equal(algorithm.lost(later, message)["params"]["w"], total)
    assert np.any(later["params"]["w"] != 0)


def distance_after(algorithm, rounds, *, loss=0.3, clients=10, size=20, steps=5, rate=0.05):
    """How far from their optimum clients with unlike quadratics are: at first, and at last.

    Client i has f_i(w) = sum_j a_ij (w_j - b_ij)^2 / 2; all take part, some uploads are lost. The
    last is the mean over a quarter of the rounds.
    """
    rng = np.random.default_rng(1)
    a = jnp.float32(rng.uniform(0.5, 2, (clients, size)))
    b = jnp.float32(rng.normal(1, 3, (clients, size)))
    optimum = jnp.sum(a * b, axis=0) / jnp.sum(a, axis=0)
    hook = algorithm.objective.gradient or (lambda grads, *_: grads)
    sends = schedules.always()(1)

    def one_round(carry, key):
        server, store = carry
        message, server = algorithm.broadcast(server, sends, key)
        arrived = jax.random.uniform(key, (clients,)) >= loss

        def client(stored, a, b, arrived):
            start = algorithm.receive(stored, message, None)

            def step(index, params):
                grads = {"w": a * (params["w"] - b)}
                grads = hook(grads, params, start.carried, None)
                return {"w": params["w"] - rate * grads["w"]}

            trained = {"params": jax.lax.fori_loop(0, steps, step, start.weights["params"])}
            work = Work(start, trained, jnp.int32(steps), jnp.float32(rate), jnp.float32(0))
            upload, after = algorithm.upload(stored, work, sends, key)
            if algorithm.lost is not None:
                back = algorithm.lost(after, upload)
                after = jax.tree.map(lambda x, y: jnp.where(arrived, x, y), after, back)
            return wire.only_carried(upload, arrived), after

        uploads, store = jax.vmap(client)(store, a, b, arrived)
        server = algorithm.aggregate(server, uploads, jnp.ones(clients), sends)
        weights = algorithm.report(server, store)[0]["params"]["w"][0]
        return (server, store), jnp.linalg.norm(weights - optimum)

    state = algorithm.init({"params": {"w": jnp.zeros(size)}}, clients)
    keys = jax.random.split(jax.random.key(0), rounds)
    _, distances = jax.jit(lambda state: jax.lax.scan(one_round, state, keys))(state)
    return float(jnp.linalg.norm(optimum)), float(jnp.mean(distances[-rounds // 4 :]))


def test_scaffold_converges_over_lossy_links_only_if_it_takes_back_what_was_lost():
    algorithm = scaffold.scaffold()
    first, last = distance_after(algorithm, 400)
    _, without = distance_after(algorithm._replace(lost=None), 400)
    assert last < 1e-4 * first
    assert without > 0.1 * first


def test_feedback_over_lossy_links_is_nearer_if_it_takes_back_what_was_lost():
    algorithm = topk_feedback.topk_feedback(0.25)
    _, last = distance_after(algorithm, 1000, rate=0.003)
    _, without = distance_after(algorithm._replace(lost=None), 1000, rate=0.003)
    assert last < 0.7 * without


@pytest.mark.parametrize("module", [fedprox, scaffold, topk_feedback])
def test_a_method_is_under_sixty_lines_of_public_names(module):
    text = pathlib.Path(module.__file__).read_text()
    assert len(text.splitlines()) < 60
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            assert {name.name for name in node.names} <= {"jax", "jax.numpy", "optax"}
        if isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in ("jax", "fedcode_jax")
            home = importlib.import_module(node.module)
            rooms = getattr(home, "_ROOMS", ())
            public = {*getattr(home, "__all__", dir(home)), *rooms}
            assert {name.name for name in node.names} <= public
            assert node.module.count(".") <= 1 or node.module.startswith("jax.")
