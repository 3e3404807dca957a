"""Whole rounds of FedPM, either form, against an independent implementation in NumPy.

It is written from the paper's steps, and shares random numbers with the package: uniform draws,
the signs of the weights, the order of samples, and which candidates a seed stands for.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import fedcode_jax
from fedcode_jax import experiment, wire
from fedcode_jax.clients.batches import shuffles
from fedcode_jax.config import ExperimentConfig, replace

CLIENTS, COHORT, EPOCHS, BATCH, RATE, EDGE, HIDDEN, FEATURES = 4, 3, 2, 16, 20.0, 0.01, 8, 6
CONFIG = replace(
    ExperimentConfig(),
    {
        "seed": 3,
        "rounds": 3,
        "clients_per_round": COHORT,
        "data.name": "synthetic",
        "data.shape": (FEATURES,),
        "data.num_classes": 3,
        "data.train_size": 150,
        "data.test_size": 60,
        "partition.num_clients": CLIENTS,
        "model.name": "mlp",
        "model.hidden": (HIDDEN,),
        "local.optimizer": "sgd",
        "local.learning_rate": RATE,
        "local.epochs": EPOCHS,
        "local.batch_size": BATCH,
        "execution.client_axis": "map",
    },
)
# In the order of the model's leaves, with the fan-in of each.
LEAVES = [
    ("dense1", "bias", (HIDDEN,), FEATURES),
    ("dense1", "kernel", (FEATURES, HIDDEN), FEATURES),
    ("head", "bias", (3,), HIDDEN),
    ("head", "kernel", (HIDDEN, 3), HIDDEN),
]
SIZE = sum(int(np.prod(shape)) for *_, shape, _ in LEAVES)
fold = jax.random.fold_in


def cut(vector):
    ends = np.cumsum([np.prod(shape) for *_, shape, _ in LEAVES])
    parts = zip(np.split(vector, ends[:-1]), LEAVES, strict=True)
    return [part.reshape(shape) for part, (*_, shape, _) in parts]


def joined(leaves):
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def frozen(seed):
    """The weights, +-e / sqrt(fan-in); the draw of the signs is the package's."""
    signs = np.asarray(jax.random.rademacher(fold(jax.random.key(np.uint32(seed)), 0), (SIZE,)))
    return [np.e / np.sqrt(leaf[3]) * sign for sign, leaf in zip(cut(signs), LEAVES, strict=True)]


@functools.partial(jax.jit, static_argnums=1)
def step_draws(key, steps):
    """The uniform draws of all steps."""
    keys = jax.vmap(lambda step: fold(fold(key, step), 0x71E3))(jnp.arange(steps))
    return jax.vmap(lambda key: jax.random.uniform(key, (SIZE,)))(keys)


def logits_of(weights, x):
    before = x @ weights[1] + weights[0]
    return before, np.maximum(before, 0) @ weights[3] + weights[2]


def train(scores, weights, x, y, orders, key):
    """SGD on scores, a new mask in every step, gradients by hand."""
    firsts = range(0, len(y), BATCH)
    draws, step = jax.device_get(step_draws(key, len(orders) * len(firsts))), 0
    for order in orders:
        for first in firsts:
            rows = order[first : first + BATCH]
            theta = [sigmoid(s) for s in scores]
            used = [w * (u < t) for w, u, t in zip(weights, cut(draws[step]), theta, strict=True)]
            before, logits = logits_of(used, x[rows])
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(rows)), y[rows]] -= 1
            p /= len(rows)
            back = (p @ used[3].T) * (before > 0)
            grads = [back.sum(0), x[rows].T @ back, p.sum(0), np.maximum(before, 0).T @ p]
            scores = [
                s - RATE * g * w * t * (1 - t)
                for s, g, w, t in zip(scores, grads, weights, theta, strict=True)
            ]
            step += 1
    return scores


def logit(theta):
    return np.log(theta / (1 - theta))


class Rounds:
    """An experiment round by round, and what the second implementation needs of it."""

    def __init__(self, changes):
        self.built = built = experiment.build(replace(CONFIG, changes))
        data = built.dataset
        self.x = ((data.train_x - data.mean) / data.std).reshape(data.num_train, -1).astype(float)
        self.state = built.program.start(built.weights)

    def server(self):
        return jax.tree.map(np.array, self.state.server)

    def advance(self):
        self.state, output = self.built.program.advance(self.state, 1, traffic=True)
        return jax.tree.map(lambda leaf: np.array(leaf[0]), (output.metrics, output.traffic))

    def trained(self, number, client, scores, weights):
        """The scores of a client after its round, and the key that it uploads with."""
        key = fold(fold(fold(jax.random.key(CONFIG.seed), 2), number), int(client))
        rows = self.built.partition.clients[client]
        own = fold(key, 0)
        orders = np.asarray(shuffles(fold(own, 0), len(rows), len(rows), EPOCHS))
        y = self.built.dataset.train_y[rows]
        return train(scores, weights, self.x[rows], y, orders, fold(own, 2)), fold(key, 1)


def number_of(bits):
    return np.uint32((bits.astype(np.int64) << np.arange(32)).sum())


def entropy(share):
    return -sum(p * np.log2(p) for p in (share, 1 - share) if p > 0)


def test_every_round_is_what_the_paper_says():
    """With probabilities in steps on the way down, and a prior that two rounds share."""
    levels, reset = 5, 2
    changes = {"algorithm.name": "fedpm", "algorithm.levels": levels, "algorithm.reset": reset}
    run = Rounds(changes)
    ones, masks, told, draws_of_report = np.zeros(SIZE), 0, 0, []
    for number in (1, 2, 3):
        before = run.server()
        weights = frozen(before.seed)
        metrics, traffic = run.advance()
        after = run.server()
        # 1 and 2: theta as it comes down, and the seed of the weights.
        theta = np.asarray(wire.values(traffic.broadcast.sections[0]))
        steps = (theta - EDGE) / (1 - 2 * EDGE) * levels
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-5)
        assert np.abs(theta - before.probabilities).max() < (1 - 2 * EDGE) / levels
        sent = traffic.broadcast.sections[-1].bits
        np.testing.assert_array_equal(sent, (int(before.seed) >> np.arange(32)) & 1)
        if (number - 1) % reset == 0:
            ones, masks = np.zeros(SIZE), 0
        for place, client in enumerate(metrics.clients):
            # 3 and 4: scores are trained, and one mask of them is sent.
            scores, key = run.trained(number, client, cut(logit(theta.astype(float))), weights)
            draws = np.asarray(jax.random.uniform(key, (SIZE,)))
            mask = traffic.uploads.sections[0].codes[place]
            assert np.mean(mask != (draws < sigmoid(joined(scores)))) < 0.01
            ones, masks = ones + mask, masks + 1
            told += np.mean(mask != (draws < theta))
        # 5: the mode of a beta distribution.
        alpha, beta = 1 + ones, 1 + masks - ones
        mode = (alpha - 1) / (alpha + beta - 2)
        np.testing.assert_allclose(after.probabilities, EDGE + (1 - 2 * EDGE) * mode, atol=1e-6)
        # What is evaluated: one mask, another one in each round.
        report = run.built.program.algorithm.report(run.state.server, run.state.store)[0]
        draws = np.asarray(jax.random.uniform(jax.random.key(after.sample), (SIZE,)))
        expected = joined(weights) * (draws < after.probabilities)
        np.testing.assert_allclose(joined(jax.tree.leaves(report)), expected, rtol=1e-6)
        draws_of_report.append(draws)
    assert told / (3 * COHORT) > 0.05  # masks tell of the training
    assert np.any(draws_of_report[0] != draws_of_report[1])


def test_every_round_by_candidates_both_ways():
    block, bits, samples = 4, 6, 5
    changes = {"name": "fedpm_mrc", "block": block, "bits": bits, "samples": samples}
    run = Rounds({f"algorithm.{name}": value for name, value in changes.items()})
    blocks, table = -(-SIZE // block), EDGE + (1 - 2 * EDGE) * np.arange(samples + 1) / samples

    @jax.jit
    def draws_of(key):
        keys = jax.vmap(lambda place: fold(key, place))(jnp.arange(blocks))
        every = jax.vmap(lambda j: jax.vmap(lambda k: fold(k, j))(keys))(jnp.arange(2**bits))
        return jax.vmap(jax.vmap(lambda k: jax.random.uniform(k, (block,))))(every)

    @jax.jit
    def noise_of(key):
        each = jax.vmap(lambda j: jax.random.gumbel(fold(key, j), (blocks,)))
        return each(jnp.arange(2**bits))

    def candidates(key, prior):
        """All of them, bool[N, blocks, B]; the draws are the package's."""
        filled = np.pad(prior, (0, blocks * block - SIZE)).reshape(blocks, block)
        return np.asarray(draws_of(key)) < filled

    def mask(key, prior, numbers):
        drawn = candidates(key, prior)[numbers, np.arange(blocks)]
        return drawn.reshape(-1)[:SIZE].astype(int)

    def numbers_of(section):
        return (section.reshape(-1, bits) << np.arange(bits)).sum(axis=1)

    for number in (1, 2):
        before = run.server()
        weights = frozen(before.seed)
        metrics, traffic = run.advance()
        after = run.server()
        # 1 and 2: what all hold is the share of ones in the masks that the numbers stand for.
        down = numbers_of(traffic.broadcast.sections[0].bits).reshape(samples, blocks)
        seed = number_of(traffic.broadcast.sections[-1].bits[32:])
        prior = np.float32(table[before.codes])
        keys = [fold(jax.random.key(seed), s) for s in range(samples)]
        ones = sum(mask(key, prior, own) for key, own in zip(keys, down, strict=True))
        np.testing.assert_array_equal(after.codes, ones)
        theta = np.float32(table[after.codes])
        # They are drawn by importance: far better than any.
        ahead = logit(before.probabilities.astype(float)) - logit(prior.astype(float))
        weight = [
            np.pad(ahead, (0, blocks * block - SIZE)).reshape(blocks, block) * candidates(k, prior)
            for k in keys
        ]
        if number > 1:
            got = np.mean(
                [
                    w.sum(-1)[own, np.arange(blocks)].mean()
                    for w, own in zip(weight, down, strict=True)
                ]
            )
            assert got > np.mean([w.sum(-1).mean() for w in weight]) + 0.5
        shares = []
        for place, client in enumerate(metrics.clients):
            # 3 and 4.
            scores, key = run.trained(number, client, cut(logit(theta.astype(float))), weights)
            up = jax.tree.map(lambda leaf, place=place: leaf[place], traffic.uploads)
            shared = fold(jax.random.key(number_of(up.sections[-1].bits)), 0)
            sent = mask(shared, theta, numbers_of(up.sections[0].bits))
            own = fold(fold(key, 1), 0)
            ahead = np.pad(joined(scores) - logit(theta.astype(float)), (0, blocks * block - SIZE))
            weight = (candidates(shared, theta) * ahead.reshape(blocks, block)).sum(-1)
            best = np.argmax(weight + np.asarray(noise_of(own)), axis=0)
            assert np.mean(sent != mask(shared, theta, best)) < 0.02
            shares.append(sent)
            assert up.sections[0].bits.size == blocks * bits
        # 5.
        np.testing.assert_allclose(
            after.probabilities, EDGE + (1 - 2 * EDGE) * np.mean(shares, axis=0), atol=1e-6
        )


def test_a_mask_takes_its_entropy():
    algorithm = fedcode_jax.algorithms.fedpm()
    weights = {"params": {"kernel": jnp.ones((100, 200))}}
    _, store = algorithm.init(weights, 1)
    for share in (0.5, 0.1, 0.01):
        scores = {"params": {"kernel": jnp.full((100, 200), logit(share))}}
        start = fedcode_jax.algorithms.Start(weights)
        work = fedcode_jax.algorithms.Work(start, scores, 1, 0.1, 0.0)
        sends = fedcode_jax.schedules.always()(1)
        message, _ = algorithm.upload(store, work, sends, jax.random.key(0))
        mask = np.asarray(message.sections[0].codes)
        assert abs(mask.mean() - share) < 0.02
        expected = 20000 * entropy(mask.mean())
        measured = 8 * len(wire.encode(message))
        assert abs(int(wire.size_bits(message)) - measured) <= 64
        # Beside it the headers, the two values, and what the table is rounded by.
        assert expected <= measured + 64
        assert measured < 1.03 * expected + 8 * 40
        assert int(wire.formula_bits(message)) == 20000 + 64
