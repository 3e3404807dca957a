"""Packed slots against chunks, one client after another, and the plain Python loop."""

import functools

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
    train_reference,
)
from fedcode_jax.clients.batches import num_steps
from fedcode_jax.clients.rows import Rows
from fedcode_jax.data.augment import crop_and_flip

SIZES = (7, 20, 1, 0, 13, 20, 2)
"""A partial batch, several batches, one sample, none; batch size 6."""
CLIENTS = len(SIZES)
KEYS = jax.random.split(jax.random.key(2), CLIENTS)
QUICK = {"xla_backend_optimization_level": 0}  # these tests spend their time compiling


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n = sum(SIZES)
    return ClientData.from_arrays(
        rng.integers(0, 256, (n, 8, 8, 2)).astype(np.uint8),
        rng.integers(0, 3, n),
        np.float32([100, 120]),
        np.float32([60, 70]),
        tuple(np.split(rng.permutation(n), np.cumsum(SIZES)[:-1])),
    )


def make(model="mlp", opt=None, norm=None, **options):
    module = models.make(model, 3, norm=norm) if norm else models.make(model, 3)
    return LocalTraining(module, opt or optax.sgd(0.05), epochs=2, batch_size=6, **options)


def first_weights(training):
    return models.init(training.model, jax.random.key(1), (8, 8, 2))


def own_start(weights, scale):
    """A start of each client's own, and what it is given, of its own too."""
    scaled = jax.tree.map(lambda leaf: leaf * scale, weights)
    anchor = jax.tree.map(lambda leaf: 0.9 * leaf, scaled["params"])
    return Start(scaled, anchor)


def run(training, plan, data, *, present=None, trains=None, objective=None, fixed=None):
    """Outputs of every client: its trained weights, its start, steps and loss."""
    weights = first_weights(training)
    ids = jnp.arange(CLIENTS)
    here = jnp.ones(CLIENTS, bool) if present is None else jnp.asarray(present)
    trains = jnp.ones(CLIENTS, bool) if trains is None else jnp.asarray(trains)
    inputs = (1 + 0.1 * ids, trains)

    def cohort(data, weights):
        steps = num_steps(data.sizes, training.epochs, training.batch_size)
        order = dealt(plan, jnp.where(here, steps, 0))
        done = run_cohort(
            *(training, plan, data, ids[order], weights),
            *jax.tree.map(lambda leaf: leaf[order], (inputs, KEYS)),
            begin=lambda shared, row: (own_start(shared, row[0]), row[1]),
            finish=lambda shared, row, work, key: (work, jax.random.uniform(key)),
            max_size=max(SIZES),
            objective=objective or Objective(),
            present=None if present is None else here[order],
            fixed=fixed,
            learning_rate=0.05,
        )
        back = lambda leaf: leaf[jnp.argsort(order)]  # noqa: E731
        return jax.tree.map(back, (done.outputs, done.loss)), done.needed_steps

    (outputs, loss), needed = jax.jit(cohort, compiler_options=QUICK)(data, weights)
    return outputs, loss, needed


def near(found, expected, chosen=slice(None), tolerance=2e-5):
    def compare(path, other, leaf):
        np.testing.assert_allclose(
            np.asarray(other)[chosen],
            np.asarray(leaf)[chosen],
            atol=tolerance,
            rtol=1e-4,
            err_msg=jax.tree_util.keystr(path),
        )

    jax.tree_util.tree_map_with_path(compare, found, expected)


ALONE = Plan("map", 1, "native")


def packed(slots):
    return Plan("vmap", slots, "native", layout="packed")


@pytest.fixture(scope="module")
def reference(data):
    training = make(augment=crop_and_flip)
    starts = [own_start(first_weights(training), 1 + 0.1 * c).weights for c in range(CLIENTS)]
    keys = [jax.random.fold_in(key, 0) for key in KEYS]
    return [train_reference(training, starts[c], data, c, keys[c]) for c in range(CLIENTS)]


@pytest.mark.parametrize("slots", [1, 3, 50])
def test_slots_give_what_the_python_loop_gives(slots, data, reference):
    (work, _), loss, needed = run(make(augment=crop_and_flip), packed(slots), data)
    for client, (expected, mean) in enumerate(reference):
        near(jax.tree.map(lambda leaf, c=client: leaf[c], work.trained), expected)
        assert float(loss[client]) == pytest.approx(mean, abs=1e-5)
    assert int(needed) == sum(2 * -(-size // 6) for size in SIZES)


def proximal(params, anchor):
    pairs = zip(*map(jax.tree.leaves, (params, anchor)), strict=True)
    return 0.5 * sum(jnp.sum((p - a) ** 2) for p, a in pairs)


def drawn_back(grads, params, anchor, at):
    share = (1 + at.step) / at.steps
    return jax.tree.map(lambda g, p, a: g + share * (p - a), grads, params, anchor)


def masked(params, anchor, at, key):
    keep = jax.random.bernoulli(key, 0.8)
    return jax.tree.map(lambda leaf: leaf * (1 + keep), params)


def noisy(learning_rate):
    return optax.chain(optax.add_noise(0.1, 0.5, key=0), optax.sgd(learning_rate))


LINE_SEARCH = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5))
KINDS = {
    "momentum": {"opt": optimizer("sgd", 0.05, arguments={"momentum": 0.9})},
    "lamb": {"opt": optimizer("lamb", 1e-2, weight_decay=1e-2)},
    "an optimiser that draws": {"opt": noisy},
    "a line search": {"opt": LINE_SEARCH},
    "batch norm": {"model": "cnn", "norm": "batch"},
    "dropout": {"model": "cnn_pfl"},
    "a penalty": {"objective": Objective(penalty=proximal)},
    "a correction": {"objective": Objective(gradient=drawn_back)},
    "a view": {"objective": Objective(view=masked)},
    "all of them": {
        "model": "cnn",
        "norm": "batch",
        "opt": optimizer("adam", 1e-2),
        "augment": crop_and_flip,
        "objective": Objective(proximal, drawn_back, masked),
        "fix_norm_after": 3,
        "fixed": True,
    },
}
SLOW = ("dropout", "all of them", "a line search")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW)) for kind in KINDS]
)
def test_whatever_clients_do_slots_give_the_same(kind, data):
    options = dict(KINDS[kind])
    given = {name: options.pop(name) for name in ("objective", "fixed") if name in options}
    if "fixed" in given:
        given["fixed"] = jnp.bool_(given["fixed"])
    training = make(**options)
    (expected, draws), loss, needed = run(training, ALONE, data, **given)
    (found, same_draws), found_loss, found_needed = run(training, packed(3), data, **given)
    near(found, expected, tolerance=1e-4)
    near(found_loss, loss, tolerance=1e-4)
    np.testing.assert_array_equal(same_draws, draws)
    assert int(found_needed) == int(needed)
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), found.trained, found.start.weights)
    assert max(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize("slots", [2, 5])
def test_who_is_away_or_received_nothing_makes_no_step(slots, data):
    training = make()
    present = np.array([True, False, True, True, True, True, False])
    trains = np.array([True, True, True, True, False, True, True])
    given = {"present": present, "trains": trains}
    (expected, _), loss, needed = run(training, ALONE, data, **given)
    (found, _), found_loss, found_needed = run(training, packed(slots), data, **given)
    near(found, expected, present)
    near(found_loss, loss, present)
    assert int(found_needed) == int(needed) == 2 * (2 + 1 + 4)
    # of one that is there and does not train, its end is its start
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a[4], b[4]), found.trained, found.start.weights
    )


def test_nobody_is_there(data):
    (found, _), loss, needed = run(make(), packed(3), data, present=np.zeros(CLIENTS, bool))
    assert int(needed) == 0
    assert np.isfinite(jax.tree.leaves(found.trained)[0]).all()
    assert not np.any(loss)


def test_a_client_that_diverges_does_not_disturb_who_comes_after_it_in_its_slot(data):
    huge = data._replace(x=data.x.astype(jnp.float32))
    own = np.asarray(data.order)[int(data.offsets[1]) :][: SIZES[1]]
    huge = huge._replace(x=huge.x.at[own].set(jnp.inf))
    (found, _), _, _ = run(make(), packed(1), huge)
    assert np.isnan(np.asarray(found.trained["params"]["head"]["kernel"][1])).all()
    (expected, _), _, _ = run(make(), packed(1), data)
    others = [client for client in range(CLIENTS) if client != 1]
    near(found.trained, expected.trained, others)


def test_rows_hold_every_type_of_number_exactly():
    tree = {
        "w": jnp.arange(24, dtype=jnp.float32).reshape(2, 3, 4) / 7,
        "n": jnp.array([2**24 + 1, 5]),
        "h": jnp.ones((2, 5), jnp.bfloat16),
    }
    rows = Rows.like(jax.tree.map(lambda leaf: leaf[0], tree))
    back = rows.tree(rows.matrices(tree))
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for found, expected in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_experiments_that_share_a_loop_do_not_disturb_each_other(data):
    training, ids = make(), jnp.arange(CLIENTS)
    weights = first_weights(training)

    def experiment(plan, data, scale):
        done = run_cohort(
            *(training, plan, data, ids, scale, ids, KEYS),
            begin=lambda scale, row: (Start(jax.tree.map(lambda w: scale * w, weights)), True),
            finish=lambda scale, row, work, key: work.trained,
            max_size=max(SIZES),
            learning_rate=0.05,
        )
        return done.outputs

    # the second has fewer steps to make, so that it has ended before the first
    shifted = data._replace(sizes=data.sizes[::-1] // 3, offsets=data.offsets[::-1])
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), data, shifted)
    scales = jnp.array([1.0, 0.5])
    found = jax.jit(jax.vmap(functools.partial(experiment, packed(2))))(both, scales)
    for number, one in enumerate((data, shifted)):
        expected = jax.jit(functools.partial(experiment, ALONE))(one, scales[number])
        near(jax.tree.map(lambda leaf, n=number: leaf[n], found), expected)
