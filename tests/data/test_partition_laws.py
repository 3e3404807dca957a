"""Whether each law samples what its docstring says."""

import numpy as np
import pytest

from fedcode_jax.data import partition
from fedcode_jax.data.partition import common
from fedcode_jax.errors import ConfigError, DataError

LABELS = np.arange(20_000) % 10


def test_iid_is_equal_and_unordered():
    made = partition.iid(LABELS[:1003], 10)
    assert sorted(made.sizes) == [100] * 7 + [101] * 3
    # Under IID the class counts of a client follow a hypergeometric law; chi-squared, 81 d.o.f.
    counts = partition.iid(LABELS, 10).counts(LABELS)
    assert 40 < ((counts - 200) ** 2 / 200).sum() < 135
    # Any two samples are together as often as any other two.
    together = [
        next(c for c in partition.iid(LABELS[:20], 4, seed=s).clients if 0 in c)
        for s in range(2000)
    ]
    partners = np.bincount(np.concatenate(together), minlength=20)[1:]
    np.testing.assert_allclose(partners / 2000, 4 / 19, atol=0.045)


def test_multinomial_sizes():
    sizes = np.stack([partition.multinomial(LABELS[:1000], 5, seed=s).sizes for s in range(400)])
    np.testing.assert_allclose(sizes.mean(axis=0), 200, atol=4)
    np.testing.assert_allclose(sizes.var(axis=0), 1000 * 0.2 * 0.8, rtol=0.35)
    np.testing.assert_allclose(np.cov(sizes.T)[0, 1], -1000 * 0.2 * 0.2, rtol=0.6)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5.0])
def test_log_dirichlet_is_the_dirichlet(alpha):
    ours = common.log_dirichlet(np.random.default_rng(0), alpha, (20_000, 4))
    numpys = np.random.default_rng(1).dirichlet([alpha] * 4, 20_000)
    np.testing.assert_allclose(ours.sum(axis=1), 1)
    np.testing.assert_allclose(ours.mean(axis=0), 0.25, atol=0.015)
    np.testing.assert_allclose(ours.var(axis=0), numpys.var(axis=0), rtol=0.06)
    quantiles = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(
        np.quantile(ours[:, 1], quantiles), np.quantile(numpys[:, 1], quantiles), atol=0.05
    )


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-5, 1e-2, 1e4, 1e300])
def test_log_dirichlet_never_underflows_to_nothing(alpha):
    shares = common.log_dirichlet(np.random.default_rng(0), alpha, (500, 100))
    assert np.isfinite(shares).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    if alpha <= 1e-5:  # one client takes all, and every client is equally likely to
        assert np.median(shares.max(axis=1)) > 0.999
        assert len(np.unique(shares.argmax(axis=1))) > 90
    if alpha >= 1e4:
        np.testing.assert_allclose(shares, 0.01, rtol=0.1)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_dirichlet_shares_of_each_class(alpha):
    clients, per_class = 5, 2000
    made = [partition.dirichlet(LABELS, clients, alpha=alpha, seed=s) for s in range(60)]
    shares = np.concatenate([m.counts(LABELS) for m in made], axis=1) / per_class  # [5, 600]
    np.testing.assert_allclose(shares.mean(axis=1), 1 / clients, atol=0.06)
    variance = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    np.testing.assert_allclose(shares.var(axis=1).mean(), variance, rtol=0.12)
    # Classes are drawn apart: those of one partition are not correlated.
    assert abs(np.corrcoef(shares[:, 0::2].ravel(), shares[:, 1::2].ravel())[0, 1]) < 0.1


def test_rounding_favours_no_client():
    # 3 samples a class for 8 clients: plain rounding would always serve the same places.
    labels = np.repeat(np.arange(200), 3)
    received = sum(
        common.whole(rng, np.full(8, 1 / 8), 3) for rng in map(np.random.default_rng, range(2000))
    )
    np.testing.assert_allclose(received / 2000, 3 / 8, atol=0.05)
    sizes = partition.dirichlet(labels, 8, alpha=1e6).sizes
    assert sizes.min() > 40  # 75 on average


def test_imbalanced_sizes_are_dirichlet_and_classes_are_alike():
    sizes = np.stack([partition.imbalanced(LABELS, 5, alpha=1.0, seed=s).sizes for s in range(400)])
    np.testing.assert_allclose(sizes.mean(axis=0) / len(LABELS), 0.2, atol=0.04)
    np.testing.assert_allclose((sizes / len(LABELS)).var(), 0.2 * 0.8 / 6, rtol=0.15)
    made = partition.imbalanced(LABELS, 5, alpha=1.0)
    expected = made.sizes[:, None] / 10
    assert ((made.counts(LABELS) - expected) ** 2 / expected).sum() < 90  # chi-squared, 45 d.o.f.


def test_repair_takes_from_the_largest_and_only_what_lacks():
    owner = np.repeat([0, 1, 2, 3], [1, 70, 25, 4])
    made = common.finish("x", np.random.default_rng(0), owner, 4, 10)
    assert made.sizes.tolist() == [10, 55, 25, 10]
    assert set(made.clients[2]) == set(range(71, 96))  # neither largest nor small: untouched
    assert 0 in made.clients[0]
    # Gifts are drawn at random from what the giver had, not taken from one end.
    gifts = np.concatenate([made.clients[0][1:], made.clients[3][:-4]])
    assert 20 < gifts.mean() < 52
    same = common.finish("x", np.random.default_rng(0), owner, 4, 1)
    assert same.sizes.tolist() == [1, 70, 25, 4]


@pytest.mark.parametrize(
    ("num_clients", "c"), [(10, 1), (5, 2), (10, 2), (7, 3), (30, 7), (4, 10), (100, 2)]
)
def test_by_class_exact_and_balanced(num_clients, c):
    counts = partition.by_class(LABELS, num_clients, classes_per_client=c).counts(LABELS)
    held = counts > 0
    assert (held.sum(axis=1) == c).all()
    assert held.any(axis=0).all()
    places = held.sum(axis=0)
    assert places.max() - places.min() <= 1
    for k in range(10):
        shards = counts[held[:, k], k]
        assert shards.max() - shards.min() <= 1


def test_by_class_mixes_the_classes():
    pairs = set()
    for seed in range(60):
        held = partition.by_class(LABELS, 10, classes_per_client=2, seed=seed).counts(LABELS) > 0
        pairs |= {tuple(np.flatnonzero(row)) for row in held}
    assert len(pairs) == 45  # every pair of ten classes occurs


def test_by_class_with_rare_and_absent_classes():
    labels = np.repeat([2, 3, 5, 8], [2, 500, 500, 500])  # class 2 cannot serve ten clients
    counts = partition.by_class(labels, 20, classes_per_client=2).counts(labels)
    assert ((counts > 0).sum(axis=1) == 2).all()
    places = (counts > 0).sum(axis=0)
    assert places[2] == 2
    assert sorted(places[[3, 5, 8]]) == [12, 13, 13]


@pytest.mark.parametrize(
    ("labels", "num_clients", "options", "message"),
    [
        (LABELS, 10, {"classes_per_client": 0}, "classes_per_client: 0"),
        (LABELS, 10, {"classes_per_client": 2.0}, "classes_per_client: 2.0"),
        (LABELS, 10, {"classes_per_client": 11}, "more than the 10 classes"),
        (LABELS, 4, {"classes_per_client": 2}, "cannot cover 10 classes; at least 3"),
        (LABELS[:30], 20, {"classes_per_client": 2}, "only 30 can be filled"),
        (np.repeat([0, 1], [3, 300]), 6, {"classes_per_client": 1, "min_size": 5}, "min_size: 5"),
    ],
)
def test_by_class_errors(labels, num_clients, options, message):
    with pytest.raises(ConfigError, match=message):
        partition.by_class(labels, num_clients, **options)


def test_by_user_is_the_users():
    users = np.array([7, 3, 7, 3, 9, 3])
    made = partition.by_user(users)
    assert [client.tolist() for client in made.clients] == [[1, 3, 5], [0, 2], [4]]
    names = np.array([f"user{u}" for u in users])
    assert partition.by_user(names).checksum == made.checksum
    assert partition.by_user(users, min_size=2).sizes.tolist() == [3, 2]


def test_by_user_deals_out_what_is_nobodys():
    users = np.repeat([-1, 0, 1, 2, -7], [50, 30, 20, 1, 51])
    made = partition.by_user(users)
    own = [int((users[client] >= 0).sum()) for client in made.clients]
    assert own == [30, 20, 1]
    assert sorted(made.sizes - own) == [33, 34, 34]
    assert made.sizes.sum() == len(users)
    assert partition.by_user(users).checksum == made.checksum
    assert partition.by_user(users, seed=1).checksum != made.checksum
    fewer = partition.by_user(users, min_size=2)  # gifts do not make a user large enough
    assert fewer.num_clients == 2
    assert fewer.sizes.sum() == len(users) - 1


def test_by_user_errors():
    with pytest.raises(ConfigError, match=r"min_size: 4 is more than any of the 2 users has"):
        partition.by_user([0, 0, 0, 1], min_size=4)
    with pytest.raises(ConfigError, match="any of the 0 users"):
        partition.by_user([-1, -1])
    for users in ([], [0.5], [[1]], [None]):
        with pytest.raises(DataError, match="users"):
            partition.by_user(users)


def test_laws_do_not_share_their_draws():
    orders = [common.generator(law, 0).permutation(100).tolist() for law in partition.registry]
    assert len({tuple(order) for order in orders}) == len(orders)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_balanced_dirichlet_mixes_are_dirichlet_and_sizes_equal(alpha):
    mixes = []
    for seed in range(60):
        made = partition.balanced_dirichlet(LABELS, 40, alpha=alpha, seed=seed)
        assert made.sizes.tolist() == [500] * 40
        mixes.append(made.counts(LABELS) / 500)
    mixes = np.concatenate(mixes)
    np.testing.assert_allclose(mixes.mean(axis=0), 0.1, atol=0.015)
    variance = 0.1 * 0.9 / (10 * alpha + 1)  # the last clients, with what remains, are beside it
    np.testing.assert_allclose(mixes.var(axis=0).mean(), variance, rtol=0.25)


def test_balanced_dirichlet_serves_the_first_clients_by_the_law_alone():
    # One client of two takes half: by its mix, as far as the classes reach.
    most = []
    for seed in range(300):
        counts = partition.balanced_dirichlet(LABELS, 2, alpha=100.0, seed=seed).counts(LABELS)
        most.append(counts[0] / 10_000)
    np.testing.assert_allclose(np.mean(most, axis=0), 0.1, atol=0.002)
    np.testing.assert_allclose(np.var(most), 0.1 * 0.9 / 1001, rtol=0.15)


def test_balanced_dirichlet_takes_of_others_what_a_class_lacks():
    labels = np.repeat([0, 1, 2], [5, 5, 90])
    made = partition.balanced_dirichlet(labels, 4, alpha=0.01, seed=1)
    assert made.sizes.tolist() == [25] * 4
    assert made.counts(labels).sum(axis=0).tolist() == [5, 5, 90]


def test_extended_dirichlet_shares_of_each_class():
    of_two = []
    for seed in range(80):
        made = partition.extended_dirichlet(LABELS, 10, classes_per_client=2, alpha=0.5, seed=seed)
        counts = made.counts(LABELS)
        assert ((counts > 0).sum(axis=1) == 2).all()
        assert ((counts > 0).sum(axis=0) == 2).all()
        first = [row[row > 0][0] for row in counts.T]
        of_two += [(n - 1) / 1998 for n in first]
    # Beta(0.5, 0.5): the arcsine law, whose quantiles are sin^2(pi q / 2).
    quantiles = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(
        np.quantile(of_two, quantiles), np.sin(np.pi * quantiles / 2) ** 2, atol=0.06
    )


def test_extended_dirichlet_refuses_what_would_bring_in_other_classes():
    with pytest.raises(ConfigError, match=r"min_size: 900 cannot be met by extended_dirichlet"):
        partition.extended_dirichlet(LABELS, 20, alpha=0.1, min_size=900)


def test_shards_are_those_of_the_sorted_samples():
    labels = np.random.default_rng(0).permutation(LABELS)
    made = partition.shards(labels, 100, seed=3)
    assert made.sizes.tolist() == [200] * 100
    counts = made.counts(labels)
    assert set(counts[counts > 0].tolist()) == {100, 200}  # a shard is of one class
    assert (counts > 0).sum(axis=1).max() == 2
    # 200 shards, 20 of each class: two of a client are of one class with probability 19 / 199.
    alike = [
        ((partition.shards(labels, 100, seed=s).counts(labels) > 0).sum(axis=1) == 1).mean()
        for s in range(60)
    ]
    np.testing.assert_allclose(np.mean(alike), 19 / 199, atol=0.015)


def test_shards_that_cross_from_class_to_class():
    labels = np.repeat(np.arange(3), [10, 11, 12])
    made = partition.shards(labels, 4, shards_per_client=2)
    assert sorted(made.sizes) == [8, 8, 8, 9]
    for client in made.clients:  # two runs of the sorted samples
        assert len(np.unique(labels[client])) <= 4


def test_lognormal_sizes():
    sizes = np.stack([partition.lognormal(LABELS, 10, sigma=0.5, seed=s).sizes for s in range(300)])
    logs = np.log(sizes)
    spread = (logs - logs.mean(axis=1, keepdims=True)).var(axis=1, ddof=1)
    np.testing.assert_allclose(spread.mean(), 0.25, rtol=0.08)
    np.testing.assert_allclose(sizes.mean(axis=0), 2000, rtol=0.1)
    made = partition.lognormal(LABELS, 5, sigma=0.5)
    expected = made.sizes[:, None] / 10
    assert ((made.counts(LABELS) - expected) ** 2 / expected).sum() < 90  # chi-squared, 45 d.o.f.
    assert partition.lognormal(LABELS, 8, sigma=0).sizes.tolist() == [2500] * 8
