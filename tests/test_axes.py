import math

import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.config import ExperimentConfig
from fedcode_jax.config.axes import Range, distinct, load_sweep, parse_axis, points
from fedcode_jax.errors import ConfigError

BASE = ExperimentConfig()


def test_axes_are_read_as_yaml_reads_values():
    assert parse_axis("seed=0,1,2") == (("seed",), [(0,), (1,), (2,)])
    assert parse_axis("local.learning-rate=1e-3,0.01") == (
        ("local.learning_rate",),
        [(0.001,), (0.01,)],
    )
    assert parse_axis("schedule.name=periodic,late")[1] == [("periodic",), ("late",)]
    assert parse_axis("network.deadline=null,2.5")[1] == [(None,), (2.5,)]
    assert parse_axis("seed=3..9") == (("seed",), Range(3, 9))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed", "write setting=value"),
        ("=1,2", "write setting=value"),
        ("seed=", "write setting=value"),
        ("a,b=1:2,3", "2 settings need as many values"),
        ("a,b=1..2", "of one setting"),
        ("seed=9..3", "low..high"),
        ("seed=a..b", "low..high"),
    ],
)
def test_axes_that_cannot_be_read(text, says):
    with pytest.raises(ConfigError, match=says):
        parse_axis(text)


def test_a_grid_is_the_product_in_order_and_every_config_is_checked():
    axes = {"seed": [0, 1], ("schedule.server_period", "schedule.client_period"): [(5, 2), (9, 3)]}
    found = points(BASE, axes)
    pairs = [(c.seed, c.schedule.server_period, c.schedule.client_period) for _, c in found]
    assert pairs == [(0, 5, 2), (0, 9, 3), (1, 5, 2), (1, 9, 3)]
    assert list(found[1][0].values()) == [0, 9, 3]
    with pytest.raises(ConfigError, match=r"schedule\.server_period: 0 cannot be used"):
        points(BASE, {"schedule.server_period": [5, 0]})


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({}, "there is none"),
        ({"sead": [1]}, "Did you mean seed"),
        ({"out": ["a", "b"]}, "is set by the sweep"),
        ({"seed": [1], ("seed", "rounds"): [(1, 2)]}, "is on two axes"),
        ({"seed": 3}, "not a list of values"),
        ({"seed": []}, "not a list of values"),
        ({"seed": "01"}, "not a list of values"),
        ({("seed", "rounds"): [(1,)]}, "another number of values"),
        ({("seed", "rounds"): [1, 2]}, "seed, rounds: 1 is not a list of values"),
        ({("seed", "rounds"): ["12"]}, "'12' is not a list of values"),
        ({"seed": Range(0, 9)}, "is a range; list values"),
    ],
)
def test_axes_that_cannot_be_used(axes, says):
    with pytest.raises(ConfigError, match=says):
        points(BASE, axes)


def test_a_random_search_draws_within_ranges_and_repeats_with_its_seed():
    axes = {
        "local.learning_rate": Range(1e-4, 1e-1),
        "schedule.client_period": Range(1, 4),
        "algorithm.merge": ["union", "rank_mean"],
    }
    found = [c for _, c in points(BASE, axes, samples=400, seed=3)]
    rates = [c.local.learning_rate for c in found]
    assert min(rates) >= 1e-4
    assert max(rates) <= 1e-1
    # Uniform in the logarithm: half of them are below the geometric mean.
    assert 0.42 < sum(rate < math.sqrt(1e-4 * 1e-1) for rate in rates) / 400 < 0.58
    assert {c.schedule.client_period for c in found} == {1, 2, 3, 4}
    assert {c.algorithm.merge for c in found} == {"union", "rank_mean"}
    assert found == [c for _, c in points(BASE, axes, samples=400, seed=3)]
    assert found != [c for _, c in points(BASE, axes, samples=400, seed=4)]
    with pytest.raises(ConfigError, match="samples: 0"):
        points(BASE, axes, samples=0)


def test_what_comes_to_the_same_is_run_once():
    grid = points(BASE, {"seed": [0, 0, 1], "local.weight_decay": [0, 0.0]})
    assert [config.seed for _, config in distinct(grid)] == [0, 1]
    drawn = points(BASE, {"seed": [0, 1, 2]}, samples=50)
    assert len(drawn) == 50
    assert sorted(config.seed for _, config in distinct(drawn)) == [0, 1, 2]
    # A schedule that its algorithm does not follow makes no difference; another setting does.
    axes = {
        "algorithm.name": ["fedcode", "fedavg"],
        "schedule.client_period": [2, 5],
        "partition.seed": [1, 2],
    }
    kept = [tuple(point.values()) for point, _ in distinct(points(BASE, axes))]
    assert kept == [
        ("fedcode", 2, 1),
        ("fedcode", 2, 2),
        ("fedcode", 5, 1),
        ("fedcode", 5, 2),
        ("fedavg", 2, 1),
        ("fedavg", 2, 2),
    ]


def test_a_sweep_in_a_file(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "rounds: 7\n"
        "axes:\n"
        "  seed: [0, 1]\n"
        "  local.learning_rate: 1e-3..1e-2\n"
        "  schedule.server_period,schedule.client_period: [[5, 2], [10, 5]]\n"
        "samples: 3\n"
    )
    config, others = load_sweep(file)
    assert config.rounds == 7
    assert others["samples"] == 3
    assert others["axes"] == {
        "seed": [0, 1],
        "local.learning_rate": Range(0.001, 0.01),
        ("schedule.server_period", "schedule.client_period"): [[5, 2], [10, 5]],
    }
    assert len(points(config, others["axes"], samples=3)) == 3
    file.write_text("axes: [1, 2]\n")
    with pytest.raises(ConfigError, match="mapping of settings"):
        load_sweep(file)
    file.write_text("axes: {seed: [1]}\nsamples: many\n")
    with pytest.raises(ConfigError, match="samples: 'many'"):
        load_sweep(file)


def test_axes_of_numpy_and_jax_and_ranges():
    expected = [{"seed": 0}, {"seed": 1}]
    for values in (np.arange(2), jnp.arange(2), range(2), (np.int64(0), jnp.int32(1))):
        found = points(BASE, {"seed": values})
        assert [point for point, _ in found] == expected
        assert all(type(point["seed"]) is int for point, _ in found)
    pairs = {("rounds", "seed"): np.array([[3, 0], [4, 1]])}
    assert [(config.rounds, config.seed) for _, config in points(BASE, pairs)] == [(3, 0), (4, 1)]


def test_sections_on_an_axis_and_experiments_one_by_one():
    topk = {"name": "fedavg", "up": {"name": "topk", "fraction": 0.1}}
    axes = {"algorithm": [topk, {"name": "fedcode", "num_clusters": 8}], "seed": [0, 1]}
    found = points(BASE, axes)
    assert found[0][0] == {
        "seed": 0,
        "algorithm.name": "fedavg",
        "algorithm.up.name": "topk",
        "algorithm.up.fraction": 0.1,
    }
    assert found[3][1].algorithm.num_clusters == 8
    listed = points(BASE, [{"algorithm.name": "fedavg"}, {"algorithm.num_clusters": 16}, {}])
    assert [config.algorithm.name for _, config in listed] == ["fedavg", "fedcode", "fedcode"]
    assert listed[2][1] == BASE
    for wrong in ([], [3], [{"out": "x"}], "seed"):
        with pytest.raises(ConfigError, match="axes:"):
            points(BASE, wrong)
    with pytest.raises(ConfigError, match=r"^axis: algorithm\.num_clusters: 3 has no use"):
        points(BASE, {"algorithm.name": ["fedavg"], "algorithm.num_clusters": [3]})


@pytest.mark.parametrize(
    ("axes", "samples"), [({"seed": [0, 1]}, 10**23), ({f"a{i}": [1] * 9 for i in range(9)}, None)]
)
def test_more_experiments_than_anybody_runs_are_refused(axes, samples):
    with pytest.raises(ConfigError, match="more than 100,000 experiments in one sweep"):
        points(ExperimentConfig(), axes, samples=samples)
