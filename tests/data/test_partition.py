"""What every law owes: each is run from the registry, with its settings at their extremes."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcode_jax.data import from_arrays, load, partition
from fedcode_jax.errors import ConfigError, DataError

LABELS = np.random.default_rng(0).integers(0, 10, 2000)
# Laws that share samples among a given number of clients, and the settings each is tried with.
CASES = [
    ("iid", {}),
    ("multinomial", {}),
    *[("dirichlet", {"alpha": a}) for a in (1e-300, 0.01, 0.5, 1e4, 1e300)],
    *[("imbalanced", {"alpha": a}) for a in (1e-300, 0.01, 0.5, 1e4, 1e300)],
    *[("balanced_dirichlet", {"alpha": a}) for a in (1e-300, 0.01, 0.5, 1e4, 1e300)],
    *[("lognormal", {"sigma": s}) for s in (0, 0.3, 2.0, 1e300)],
    *[("by_class", {"classes_per_client": c}) for c in (1, 2, 9, 10)],
    *[
        ("extended_dirichlet", {"classes_per_client": c, "alpha": a})
        for c, a in ((1, 1e4), (2, 1e4), (9, 10.0), (10, 10.0))
    ],
    *[("shards", {"shards_per_client": s}) for s in (1, 2, 7)],
]
# Laws that move nothing to meet ``min_size``, since a client's classes are its own.
OF_CLASSES = ("by_class", "extended_dirichlet")
SHARING = pytest.mark.parametrize(("name", "options"), CASES, ids=str)


def check(made, num_samples):
    used = np.concatenate(made.clients)
    np.testing.assert_array_equal(np.sort(used), np.arange(num_samples))
    assert all(client.dtype == np.int32 for client in made.clients)
    assert all((np.diff(client) > 0).all() for client in made.clients)
    assert made.sizes.tolist() == [len(client) for client in made.clients]
    assert made.sizes.sum() == num_samples


def test_all_laws_are_tried():
    assert {name for name, _ in CASES} | {"by_user"} == set(partition.registry)


@SHARING
@pytest.mark.parametrize("num_clients", [10, 37])
def test_every_sample_once(name, options, num_clients):
    made = partition.registry[name](LABELS, num_clients, seed=1, **options)
    check(made, len(LABELS))
    assert made.name == name
    assert made.num_clients == num_clients
    assert made.sizes.min() >= 1


@SHARING
def test_min_size_is_met_up_to_the_last_sample(name, options):
    law = partition.registry[name]
    if name not in OF_CLASSES:  # they have equal clients only by chance, and may refuse
        made = law(LABELS, 40, min_size=50, **options)
        check(made, len(LABELS))
        assert made.sizes.tolist() == [50] * 40
    made = law(LABELS, 40, min_size=15, **options)
    check(made, len(LABELS))
    assert made.sizes.min() >= 15


@SHARING
def test_it_is_a_function_of_the_seed(name, options):
    law = partition.registry[name]
    sums = [law(LABELS, 10, seed=seed, **options).checksum for seed in (0, 0, 1, 2)]
    assert sums[0] == sums[1]
    assert len(set(sums)) == 3
    assert law(LABELS, 10, **options).checksum == sums[0]


@SHARING
def test_global_random_state_is_neither_read_nor_changed(name, options):
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = partition.registry[name](LABELS, 10, **options)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(4)  # noqa: NPY002
    assert partition.registry[name](LABELS, 10, **options).checksum == first.checksum


@SHARING
def test_one_client_has_all(name, options):
    if name in OF_CLASSES:
        options = options | {"classes_per_client": 10}
    made = partition.registry[name](LABELS, 1, **options)
    np.testing.assert_array_equal(made.clients[0], np.arange(len(LABELS)))


@SHARING
def test_as_many_clients_as_samples(name, options):
    if max(options.get("classes_per_client", 1), options.get("shards_per_client", 1)) > 1:
        pytest.skip("a client of one sample has one class, and one shard")
    made = partition.registry[name](LABELS, len(LABELS), **options)
    check(made, len(LABELS))
    assert made.sizes.tolist() == [1] * len(LABELS)


@SHARING
def test_500_clients_of_50000_samples_in_a_second(name, options):
    labels = np.arange(50_000) % 10
    start = time.process_time()
    made = partition.registry[name](labels, 500, min_size=10, **options)
    assert time.process_time() - start < 1
    check(made, 50_000)
    assert made.sizes.min() >= 10


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_feasible_setting_ends_well(data):
    name, options = data.draw(st.sampled_from([c for c in CASES if c[0] not in OF_CLASSES]))
    labels = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=60))
    clients = data.draw(st.integers(1, len(labels)))
    if name == "shards":
        most = len(labels) // clients
        options = {"shards_per_client": min(options["shards_per_client"], most)}
    least = data.draw(st.integers(1, len(labels) // clients))
    seed = data.draw(st.integers(0, 2**63))
    made = partition.registry[name](labels, clients, min_size=least, seed=seed, **options)
    check(made, len(labels))
    assert made.sizes.min() >= least


@SHARING
@pytest.mark.parametrize(
    ("setting", "given", "labels"),
    [
        ("partition.num_clients", {"num_clients": 0}, LABELS),
        ("partition.num_clients", {"num_clients": 2.0}, LABELS),
        ("partition.num_clients", {"num_clients": True}, LABELS),
        ("partition.num_clients", {"num_clients": 11}, LABELS[:10]),
        ("partition.min_size", {"min_size": 0}, LABELS),
        ("partition.min_size", {"min_size": 201}, LABELS),
        ("seed", {"seed": -1}, LABELS),
    ],
)
def test_settings_out_of_range(name, options, setting, given, labels):
    with pytest.raises(ConfigError, match=setting):
        partition.registry[name](labels, **({"num_clients": 10} | given), **options)


@pytest.mark.parametrize(
    "name", ["dirichlet", "imbalanced", "balanced_dirichlet", "extended_dirichlet"]
)
@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf"), "0.5", None, True])
def test_alpha_out_of_range(name, alpha):
    with pytest.raises(ConfigError, match=r"partition\.alpha"):
        partition.registry[name](LABELS, 10, alpha=alpha)


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf"), "0.5", None, True])
def test_sigma_out_of_range(sigma):
    with pytest.raises(ConfigError, match=r"partition\.sigma"):
        partition.lognormal(LABELS, 10, sigma=sigma)


@pytest.mark.parametrize("count", [0, 1.5, True, 201])
def test_shards_out_of_range(count):
    with pytest.raises(ConfigError, match=r"partition\.shards_per_client"):
        partition.shards(LABELS, 10, shards_per_client=count)


@SHARING
@pytest.mark.parametrize("labels", [[], [0.5, 1.0], [[0], [1]], ["a"]])
def test_labels_that_are_none(name, options, labels):
    with pytest.raises(DataError, match="labels"):
        partition.registry[name](labels, 1, **options)


def test_make_gives_each_law_its_own_options():
    digits = load("digits")
    y = digits.train_y
    common = {"num_clients": 7, "min_size": 3, "seed": 5}
    for name, options in CASES:
        if options.get("alpha", 1) < 0.01 or options.get("classes_per_client") == 1:
            continue
        made = partition.make(name, digits, **common, **options)
        direct = partition.registry[name](y, 7, min_size=3, seed=5, **options)
        assert made.checksum == direct.checksum
    with pytest.raises(ConfigError, match=r"partition\.name: .*'dirichelt'.*'dirichlet'"):
        partition.make("dirichelt", digits)
    with pytest.raises(TypeError, match="classes_per_client"):
        partition.make("iid", digits, classes_per_client=2)


def test_make_by_user():
    with pytest.raises(ConfigError, match=r"by_user needs users, and data set 'digits' has none"):
        partition.make("by_user", load("digits"))
    x, users = np.zeros((6, 2)), ["b", "a", "b", "c", "b", "a"]
    toy = from_arrays("toy", x, [0] * 6, x, [0] * 6, train_user=users)
    made = partition.make("by_user", toy, num_clients=10, min_size=2)
    assert [client.tolist() for client in made.clients] == [[1, 5], [0, 2, 4]]
