"""FedCompress against whole rounds in NumPy, and its parts against what the paper says of them."""

import jax
import jax.numpy as jnp
import kmeans1d
import numpy as np
import pytest
from rounds import CLIENTS, SAMPLES, exchange, weights

from fedcode_jax import algorithms, codebook, randomness, wire
from fedcode_jax.algorithms import At, Work, growth
from fedcode_jax.algorithms.distil import BATCH, RATE, Distillation, noise
from fedcode_jax.algorithms.fedcompress import seen
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError

SENDS = exchange(True, True)
LOSSES = (2.0, 1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.899, 0.5, 0.49, 0.49, 0.49)


def clustered(kernel, K):
    """Every value at the center that the best K centers have for it."""
    found = kmeans1d.cluster(np.ravel(np.float64(kernel)), K)
    return np.array(found.centroids)[found.clusters].reshape(kernel.shape)


def grown(losses, limit=0.01, patience=3, first=8, most=30):
    """K after each round, by the published rule on losses."""
    K, since, means, found = first, 0, [], []
    for t in range(len(losses)):
        means.append(np.mean(losses[max(0, t - 2) : t + 1]))
        since += 1
        enough = limit * means[max(t - 1, 0)] / max(1, 2 * (K - first))
        may = t > 0 and since >= patience and most > K
        if may and means[-2] - means[-1] <= enough:
            K, since = K + 1, 0
        found.append(K)
    return found


def kernel_of(tree):
    return np.float64(tree["params"]["dense"]["kernel"])


def trained(start, number, client):
    rng = np.random.default_rng(10 * number + client)
    return jax.tree.map(lambda x: x + jnp.float32(0.2 * rng.normal(size=x.shape)), start)


def test_rounds_are_those_of_the_paper():
    """The middle client is not heard in some rounds, and nobody in one."""
    algorithm = algorithms.fedcompress(3, 40, limit=0.01, patience=2)
    server, store = algorithm.init(weights(), CLIENTS)
    upload, aggregate = jax.jit(algorithm.upload), jax.jit(algorithm.aggregate)
    stored = jax.tree.map(lambda x: x[0], store)
    mean, K, told = kernel_of(weights()), 3, []
    for number in range(6):
        message, _ = algorithm.broadcast(server, SENDS, jax.random.key(0))
        start = algorithm.receive(stored, wire.decode(wire.encode(message)), None)
        sent = kernel_of(start.weights)
        np.testing.assert_allclose(sent, clustered(mean, K), atol=1e-5)
        assert len(np.unique(sent)) == K
        np.testing.assert_array_equal(kernel_of(algorithm.report(server, store)[1])[0], sent)
        heard = np.array([1, number % 2, 1]) * (number != 3)
        loss = 1.0 / (number + 1) if number < 2 else 0.5
        uploads, own, others = [], [], []
        for client in range(CLIENTS):
            after = trained(start.weights, number, client)
            work = Work(start, after, jnp.int32(2), jnp.float32(0.1), jnp.float32(loss + client))
            uploads.append(upload(stored, work, SENDS, jax.random.key(0))[0])
            own.append(clustered(kernel_of(after), K))
            others.append(np.float64(after["params"]["dense"]["bias"]))
            assert int(wire.size_bits(uploads[-1])) / 8 == pytest.approx(
                len(wire.encode(uploads[-1])), abs=8
            )
        messages = jax.tree.map(lambda *leaves: jnp.stack(leaves), *uploads)
        messages = jax.vmap(wire.only_carried)(messages, jnp.array(heard, bool))
        before = server
        server = aggregate(server, messages, SAMPLES * heard, SENDS)
        if not heard.any():
            jax.tree.map(np.testing.assert_array_equal, server, before)
            continue
        shares = SAMPLES * heard / np.sum(SAMPLES * heard)
        mean = np.tensordot(shares, own, 1)
        told.append(shares @ (loss + np.arange(CLIENTS)))
        K = grown(told, patience=2, first=3, most=40)[-1]
        assert int(server.growth.clusters) == K
        np.testing.assert_allclose(kernel_of(server.weights), mean, atol=1e-5)
        bias = server.weights["params"]["dense"]["bias"]
        np.testing.assert_allclose(bias, np.tensordot(shares, others, 1), atol=1e-6)
    assert K > 3


def test_what_is_sent_is_as_much_as_the_centers_in_use_take():
    algorithm = algorithms.fedcompress(4, 25)
    server, _ = algorithm.init(weights(), 1)
    message, _ = algorithm.broadcast(server, SENDS, jax.random.key(0))
    others = 5 + 4 * 15 + 5 + 4 * 10 + 5 + 4  # biases and norms, statistics, and K
    codes = len(wire.encode(message)) - 9 - others
    assert codes <= 15 + 4 * 4 + 4 + 100 * 2 / 8 + 8  # a header, centers, a table, codes, and ends
    assert message.sections[0].centers.shape == (25,)


@pytest.mark.parametrize(("limit", "patience", "most"), [(0.01, 3, 30), (0.3, 1, 10), (0.0, 2, 9)])
def test_one_center_more_when_the_loss_stops_falling(limit, patience, most):
    state, found = growth.begun(8), []
    step = jax.jit(lambda state, loss: growth.heard(state, loss, limit, patience, most))
    for loss in LOSSES:
        state = step(state, jnp.float32(loss))
        found.append(int(state.clusters))
    assert found == grown(np.float32(LOSSES), limit, patience, 8, most)
    assert found[-1] > 8
    assert found[-1] <= most


def test_local_training_is_clustered_in_its_second_half_and_gradients_pass_straight_through():
    algorithm = algorithms.fedcompress(3, 30)
    rng, rate, steps = np.random.default_rng(0), 0.1, 5
    kernel, bias = rng.normal(size=(6, 4)), rng.normal(size=4)
    centers = np.array([-1.0, 0.2, 1.5])
    target = rng.normal(size=(6, 4))
    view = algorithm.objective.view
    params = {"dense": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}

    @jax.jit
    def gradient(params, step):
        def loss(params):
            at = At(step, jnp.int32(steps))
            made = view(params, ((jnp.float32(centers),), 3), at, jax.random.key(0))["dense"]
            return jnp.sum((made["kernel"] - target) ** 2 + made["bias"] ** 2)

        return jax.grad(loss)(params)

    for step in range(steps):
        shown = kernel
        if step >= steps // 2:
            nearest = np.argmin(np.abs(kernel[..., None] - centers), axis=-1)
            shown = np.array([kernel[nearest == k].mean() for k in range(3)])[nearest]
            assert len(np.unique(shown)) == 3
        grads = gradient(params, jnp.int32(step))
        params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
        kernel = kernel - rate * 2 * (shown - target)
        bias = bias - rate * 2 * 6 * bias
        np.testing.assert_allclose(params["dense"]["kernel"], kernel, atol=1e-5)
        np.testing.assert_allclose(params["dense"]["bias"], bias, atol=1e-4)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_the_student_takes_steps_of_adam_towards_its_teacher_as_it_is_seen():
    rng, steps, T = np.random.default_rng(0), 3, 2.0
    teacher = rng.normal(size=(4, 3))

    def rounded(params):
        return jax.tree.map(lambda w: w + jax.lax.stop_gradient(jnp.round(w) - w), params)

    student = Distillation(lambda params, x: x @ params["w"], rounded)
    number = jnp.int32(5)
    found = student.run({"w": jnp.float32(teacher)}, steps, noise((4,)), number)["w"]
    w, m, v = teacher.copy(), 0.0, 0.0
    for step in range(steps):
        key = jax.random.fold_in(jax.random.fold_in(randomness.key(0), number), step)
        x = np.float64(jax.random.normal(key, (BATCH, 4)))
        told, said = softmax(x @ teacher / T), softmax(x @ np.round(w) / T)
        g = x.T @ (said - told) / T / BATCH
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w -= RATE * m / (1 - 0.9 ** (step + 1)) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
    moved = np.abs(w - teacher)
    assert moved.max() > 2 * RATE
    np.testing.assert_allclose(found - teacher, w - teacher, atol=0.02 * moved.max())


def test_the_clustered_student_comes_nearer_to_its_teacher():
    rng = np.random.default_rng(0)
    mixed, x = (
        jnp.float32(rng.normal(size=(12, 12))),
        jax.random.normal(jax.random.key(1), (500, 12)),
    )
    teacher = {"kernel": jnp.float32(0.1 * rng.normal(size=(12, 5)))}
    centers = (codebook.fit_in_use(jnp.ravel(teacher["kernel"]), 20, jnp.int32(4)),)
    student = Distillation(
        lambda params, x: jnp.tanh(x @ mixed) @ mixed @ params["kernel"],
        lambda params: seen(params, centers, jnp.bool_(True)),
    )
    found = student.run(teacher, 300, noise((12,)), jnp.int32(0))
    told = jax.nn.log_softmax(student.logits(teacher, x) / 2)

    def distance(params):
        said = jax.nn.log_softmax(student.logits(student.view(params), x) / 2)
        return float(jnp.mean(jnp.sum(jnp.exp(told) * (told - said), axis=1)))

    assert distance(found) < 0.7 * distance(teacher)


class Linear:
    """A model of one kernel and no more."""

    def apply(self, variables, x, train):
        assert not train
        return jnp.tanh(x) @ variables["params"]["w"]


@pytest.mark.parametrize(("model", "moves"), [(Linear(), True), (None, False)])
def test_the_server_distils_what_it_has_averaged_if_it_has_a_model(model, moves):
    tree = {"params": {"w": jnp.float32(np.random.default_rng(0).normal(size=(10, 5)))}}
    made = algorithms.fedcompress(4, 20, distil_steps=3, model=model, input_shape=(10,))
    server, _ = made.init(tree, 1)
    message, _ = made.broadcast(server, SENDS, jax.random.key(0))
    uploads = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], message)
    first = uploads.sections[0]
    centers = jnp.float32(np.sort(np.random.default_rng(1).normal(size=(1, 20))))
    codes = jnp.arange(50, dtype=jnp.uint8)[None] % 20
    coded = wire.Coded(centers, codes, first.coding)
    mean = np.asarray(centers)[0][np.arange(50) % 20].reshape(10, 5)
    other = wire.Message(uploads.kind, (coded, *uploads.sections[1:]))
    after = jax.jit(made.aggregate)(server, other, jnp.ones(1), SENDS)
    moved = np.abs(after.weights["params"]["w"] - mean).max()
    assert (moved > RATE) == moves
    assert moved < 3.1 * RATE


def test_settings_that_are_none_are_refused():
    for changes in ({"max_clusters": 7}, {"limit": -1.0}, {"patience": 0}, {"coding": "zip"}):
        ((name, value),) = changes.items()
        with pytest.raises(ConfigError, match=rf"^algorithm\.{name}: "):
            algorithms.fedcompress(**changes)
        with pytest.raises(ConfigError, match=rf"^algorithm\.{name}: "):
            replace(
                ExperimentConfig(), {"algorithm.name": "fedcompress", f"algorithm.{name}": value}
            )
