"""Every way of running clients against the plain Python loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import models
from fedcode_jax.algorithms import Objective, Start
from fedcode_jax.clients import (
    ClientData,
    LocalTraining,
    Plan,
    dealt,
    optimizer,
    run_cohort,
    train,
    train_reference,
)
from fedcode_jax.clients.batches import _packed_argsort, batch_at, num_steps, shuffles
from fedcode_jax.data.augment import crop_and_flip
from fedcode_jax.errors import ConfigError

SIZES = (7, 20, 1, 0, 13)
"""A partial batch, several batches, one sample, none; batch size 6."""


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n = sum(SIZES)
    order = rng.permutation(n)
    clients = tuple(np.split(order, np.cumsum(SIZES)[:-1]))
    return ClientData.from_arrays(
        rng.integers(0, 256, (n, 8, 8, 2)).astype(np.uint8),
        rng.integers(0, 3, n),
        np.float32([100, 120]),
        np.float32([60, 70]),
        clients,
    )


def make(model="cnn", norm=None, lowering="native", opt=None, **options):
    module = models.make(model, 3, norm=norm, lowering=lowering)
    return LocalTraining(module, opt or optax.sgd(0.05), epochs=2, batch_size=6, **options)


def first_weights(training):
    return models.init(training.model, jax.random.key(1), (8, 8, 2))


def client_keys():
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(2), jnp.arange(len(SIZES)))


PLAIN = Objective()


def _start(weights, one):
    weights = jax.tree.map(lambda w: w * one, weights)
    return Start(weights, weights["params"])


def run_plan(training, plan, data, clients=None, objective=PLAIN):
    weights = first_weights(training)
    clients = jnp.arange(len(SIZES)) if clients is None else clients
    inputs = jnp.ones(len(clients))

    def cohort():
        steps = num_steps(data.sizes[clients], training.epochs, training.batch_size)
        order = dealt(plan, steps)
        done = run_cohort(
            training,
            plan,
            data,
            clients[order],
            weights,
            inputs,
            client_keys()[clients[order]],
            begin=lambda weights, one: (_start(weights, one), True),
            finish=lambda weights, row, work, key: work.trained,
            max_size=max(SIZES),
            objective=objective,
        )
        back = lambda leaf: leaf[jnp.argsort(order)]  # noqa: E731
        return done._replace(outputs=jax.tree.map(back, done.outputs), loss=back(done.loss))

    return jax.jit(cohort)()


def references(training, data, clients=None):
    clients = range(len(SIZES)) if clients is None else clients
    weights = first_weights(training)
    keys = [jax.random.fold_in(client_keys()[c], 0) for c in clients]
    return [
        train_reference(training, weights, data, c, key)
        for c, key in zip(clients, keys, strict=True)
    ]


def assert_close(found, expected, tolerance=2e-5):
    for path, leaf in jax.tree_util.tree_flatten_with_path(expected)[0]:
        other = found
        for key in path:
            other = other[key.key]
        np.testing.assert_allclose(
            other, leaf, atol=tolerance, rtol=1e-4, err_msg=jax.tree_util.keystr(path)
        )


PLANS = [
    Plan("map", 1, "native"),
    Plan("map", 1, "patches"),
    Plan("vmap", 2, "native"),
    Plan("vmap", 7, "patches"),
]


@pytest.fixture(scope="module")
def reference(data):
    return references(make(augment=crop_and_flip), data)


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: f"{p.client_axis}-{p.chunk}-{p.conv}")
def test_every_plan_gives_what_the_python_loop_gives(plan, data, reference):
    training = make(lowering=plan.conv, augment=crop_and_flip)
    done = run_plan(training, plan, data)
    for client, (weights, loss) in enumerate(reference):
        assert_close(jax.tree.map(lambda x, c=client: x[c], done.outputs), weights)
        assert float(done.loss[client]) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(
    ("model", "norm"),
    [
        ("cnn", "batch"),
        pytest.param("cnn", "group", marks=pytest.mark.slow),
        pytest.param("resnet20", "batch", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("plan", [Plan("map", 1, "native"), Plan("vmap", 2, "patches")], ids=str)
def test_models_and_norms_with_partial_batches(model, norm, plan, data):
    # Batch norm of one sample has no variance, and He-normal ResNets amplify rounding there.
    clients = [0, 1, 3] if model == "resnet20" else list(range(len(SIZES)))
    opt = optax.sgd(0.01)
    training = make(model, norm, plan.conv, opt)
    done = run_plan(training, plan, data, jnp.array(clients))
    for i, (weights, loss) in enumerate(references(training, data, clients)):
        tolerance = 2e-3 if model == "resnet20" else 5e-5
        assert_close(jax.tree.map(lambda x, i=i: x[i], done.outputs), weights, tolerance)
        assert float(done.loss[i]) == pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("name", ["adam", "lamb"])
def test_optimisers_work_side_by_side(name, data):
    opt = optimizer(name, 1e-3, weight_decay=1e-2)
    done = run_plan(make("mlp", opt=opt), Plan("vmap", 3, "native"), data)
    for client, (weights, _) in enumerate(references(make("mlp", opt=opt), data)):
        assert_close(jax.tree.map(lambda x, c=client: x[c], done.outputs), weights, 5e-5)


def squared_distance(a, b):
    return sum(jnp.sum((x - y) ** 2) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def proximal(params, anchor):
    return 5.0 * squared_distance(params, anchor)


def drawn_back(grads, params, anchor, at):
    share = at.step / at.steps
    return jax.tree.map(lambda g, p, a: g + 10.0 * share * (p - a), grads, params, anchor)


def masked(params, anchor, at, key):
    keep = jax.random.bernoulli(key, 0.8, (len(jax.tree.leaves(params)),))
    leaves, tree = jax.tree.flatten(params)
    late = at.step / at.steps
    return jax.tree.unflatten(
        tree, [leaf * (1 + late * kept) for leaf, kept in zip(leaves, keep, strict=True)]
    )


def held_back(params, anchor, at):
    """Every other step comes to half of what it was."""
    share = jnp.where(at.step % 2, 1.0, 0.5)
    return jax.tree.map(lambda p, a: a + share * (p - a), params, anchor)


OBJECTIVES = {
    "penalty": Objective(penalty=proximal),
    "gradient": Objective(gradient=drawn_back),
    "view": Objective(view=masked),
    "project": Objective(project=held_back),
    "all four": Objective(proximal, drawn_back, masked, held_back),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_shapes_training_as_in_the_python_loop(name, data):
    training, objective = make("mlp"), OBJECTIVES[name]
    weights = first_weights(training)
    free = run_plan(training, Plan("map", 1, "native"), data)
    for plan in (Plan("map", 1, "native"), Plan("vmap", 2, "native")):
        done = run_plan(training, plan, data, objective=objective)
        for client in range(len(SIZES)):
            key = jax.random.fold_in(client_keys()[client], 0)
            expected, _ = train_reference(
                *(training, weights, data, client, key),
                objective=objective,
                carried=weights["params"],
            )
            assert_close(jax.tree.map(lambda x, c=client: x[c], done.outputs), expected)
        moved = jax.tree.map(lambda a, b: a[1] - b[1], done.outputs, free.outputs)
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(moved)) > 1e-3


def test_a_penalty_holds_clients_near_their_anchor(data):
    training = make("mlp")
    start = first_weights(training)["params"]

    def distance(objective):
        done = run_plan(training, Plan("map", 1, "native"), data, objective=objective)
        return float(
            squared_distance(jax.tree.map(lambda leaf: leaf[1], done.outputs["params"]), start)
        )

    assert distance(OBJECTIVES["penalty"]) < 0.5 * distance(Objective())


def test_work_is_counted(data):
    # Steps of two epochs in batches of 6: 4, 8, 2, 0, 6; sorted 8 6 4 2 0.
    training = make("mlp")
    assert int(run_plan(training, Plan("map", 1, "native"), data).executed_steps) == 20
    chunks_of_two = run_plan(training, Plan("vmap", 2, "native"), data)
    assert int(chunks_of_two.needed_steps) == 20
    assert int(chunks_of_two.executed_steps) == 2 * 8 + 2 * 4 + 2 * 0
    assert int(run_plan(training, Plan("vmap", 7, "native"), data).executed_steps) == 5 * 8


def test_weights_differ_between_clients_and_keys(data):
    training = make("mlp")
    start = first_weights(training)
    one = lambda client, seed: train(  # noqa: E731
        training, "map", Start(start), data, jnp.int32(client), jax.random.key(seed), max_size=20
    ).weights["params"]["head"]["kernel"]
    assert not np.allclose(one(0, 0), one(1, 0))
    assert not np.allclose(one(1, 0), one(1, 1))


@pytest.mark.parametrize("plan", [PLANS[0], PLANS[2]], ids=str)
def test_repeated_draws_are_those_of_every_key(plan, data):
    """Two clients with the same samples then train alike, and so in the Python loop."""
    pair = ClientData.from_arrays(
        data.x, data.y, data.mean, data.std, (np.arange(13), np.arange(13), np.arange(20), [], [0])
    )
    training = make("mlp", lowering=plan.conv, augment=crop_and_flip, repeat_draws=True)
    outputs = run_plan(training, plan, pair).outputs
    kernels = outputs["params"]["head"]["kernel"]
    np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-6)
    (weights, _), *_ = references(training, pair, [0])
    assert_close(jax.tree.map(lambda x: x[0], outputs), weights)
    fresh = make("mlp", lowering=plan.conv, augment=crop_and_flip)
    kernels = run_plan(fresh, plan, pair).outputs["params"]["head"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1], atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 144, 4096])
@pytest.mark.parametrize("differ_in", ["all bits", "upper bits", "lower bits", "few values"])
def test_a_packed_sort_is_a_stable_sort(size, differ_in):
    rng = np.random.default_rng(size)
    keys = rng.integers(0, 2**32, size, dtype=np.uint32)
    keys[rng.random(size) < 0.1] = 2**32 - 1  # as padding has
    if differ_in == "upper bits":
        keys = keys >> 12 << 12
    elif differ_in == "lower bits":
        # Neighbours change places until all are in order: a few hundred are enough to wait for.
        keys[:300] = keys[:300] % 4096
    elif differ_in == "few values":
        keys = keys % 3
    order = np.asarray(jax.jit(_packed_argsort)(keys))
    assert np.array_equal(order, np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("length", [50, 5000])
def test_shuffles_are_permutations_that_do_not_depend_on_the_padding(length):
    key = jax.random.key(5)
    rows = np.asarray(shuffles(key, jnp.int32(7), 7, 3))
    assert [sorted(row) for row in rows.tolist()] == [list(range(7))] * 3
    assert len({tuple(row) for row in rows.tolist()}) == 3
    padded = np.asarray(shuffles(key, jnp.int32(7), length, 3))[:, :7]
    np.testing.assert_array_equal(padded, rows)


def test_every_order_of_three_samples_is_as_likely():
    keys = jax.random.split(jax.random.key(0), 6000)
    rows = jax.vmap(lambda key: shuffles(key, 3, 4, 1)[0, :3])(keys)
    counts = np.unique(np.asarray(rows) @ [100, 10, 1], return_counts=True)[1]
    assert len(counts) == 6
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize("size", [1, 5, 6, 7, 20])
def test_an_epoch_uses_every_sample_once(size):
    shuffled = shuffles(jax.random.key(0), jnp.int32(size), 20, 2)
    steps = int(num_steps(jnp.int32(size), 2, 6))
    seen: list[list[int]] = [[], []]
    for step in range(steps):
        positions, mask = batch_at(shuffled, jnp.int32(size), jnp.int32(step), 6)
        seen[step // (steps // 2)] += np.asarray(positions)[np.asarray(mask)].tolist()
    assert [sorted(epoch) for epoch in seen] == [list(range(size))] * 2


def test_weight_decay_is_added_to_the_gradient():
    params = {"w": jnp.float32([2.0])}
    opt = optimizer("sgd", 0.1, weight_decay=0.5)
    updates, _ = opt.update({"w": jnp.float32([3.0])}, opt.init(params), params)
    assert updates["w"].tolist() == pytest.approx([-0.1 * (3 + 0.5 * 2)])


def test_bad_optimisers_are_named():
    with pytest.raises(ConfigError, match=r"local\.optimizer.*Did you mean 'adam'"):
        optimizer("adamm", 1e-3)
    with pytest.raises(ConfigError, match="momentun"):
        optimizer("sgd", 1e-3, arguments={"momentun": 0.9})
