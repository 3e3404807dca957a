"""Parts of one's own, as objects and by name, through every door."""

import functools
import json
import re
from pathlib import Path

import jax
import numpy as np
import optax
import parts_of_mine as mine
import pytest

import fedcode_jax
from fedcode_jax import ExperimentConfig, advice, bench, cli
from fedcode_jax.config import from_yaml, load, replace, to_yaml
from fedcode_jax.data import as_dataset
from fedcode_jax.errors import ConfigError, DataError

BASE = replace(
    ExperimentConfig(),
    {
        "rounds": 3,
        "data.name": "parts_of_mine:arrays",
        "model.name": "mlp",
        "model.hidden": [4],
        "partition.num_clients": 3,
        "local.epochs": 1,
        "local.batch_size": 16,
        "algorithm.name": "fedavg",
    },
)

# By part: how it is named, and the same as an object.
BOTH = {
    "linen": ({"model.name": "parts_of_mine:Tiny"}, {"model": mine.Tiny(3)}),
    "nnx": (
        {"model.name": "parts_of_mine:TinyNnx"},
        {"model": functools.partial(mine.TinyNnx, 3, (6,))},
    ),
    "dataset": ({}, {"dataset": mine.arrays(0)}),
    "partition": (
        {"partition.name": "parts_of_mine:thirds"},
        {"partition": mine.thirds(range(72))},
    ),
    "algorithm": (
        {"algorithm.name": "parts_of_mine:proximal", "algorithm.mu": 0.5},
        {"algorithm": mine.proximal(0.5)},
    ),
    "optimizer": (
        {"local.optimizer": "parts_of_mine:momentum", "local.optimizer_args": {"beta": 0.25}},
        {"optimizer": functools.partial(mine.momentum, beta=0.25)},
    ),
    "loss": (
        {"local.loss": "parts_of_mine:focal", "local.loss_args": {"gamma": 1.0}},
        {"loss": functools.partial(mine.focal, gamma=1.0)},
    ),
    "metrics": ({"metrics": ["parts_of_mine:brier"]}, {"metrics": {"brier": mine.brier}}),
    "schedule": (
        {
            "algorithm.name": "skip",
            "algorithm.num_clusters": 4,
            "schedule.name": "parts_of_mine:every_third",
        },
        {"schedule": mine.every_third(3)},
    ),
    "network": (
        {"network.name": "parts_of_mine:slow", "network.rate": 5e4},
        {"network": mine.slow(3, 5e4)},
    ),
    "augment": ({"local.augment": "parts_of_mine:noisy"}, {"augment": mine.noisy}),
}
DROPPED = {  # settings of the parts in BASE that an object stands in for
    "linen": {"model": {}},
    "nnx": {"model": {}},
    "dataset": {"data": {}},
    "partition": {"partition": {}},
    "algorithm": {"algorithm": {}},
    "schedule": {"algorithm": {"name": "skip", "num_clusters": 4}},
}


def without(part):
    return replace(BASE, DROPPED.get(part, {}))


def figures_of(records):
    return [{k: v for k, v in record.items() if k != "wall_seconds"} for record in records]


def figures(result):
    return figures_of(result.records), jax.tree.map(np.asarray, result.weights)


def same(one, other):
    assert figures(one)[0] == figures(other)[0]
    leaves = zip(*map(jax.tree.leaves, (figures(one)[1], figures(other)[1])), strict=True)
    assert all(np.array_equal(a, b) for a, b in leaves)


@pytest.mark.parametrize("part", list(BOTH))
def test_an_object_and_its_name_give_the_same_run(part, tmp_path):
    changes, objects = BOTH[part]
    named = fedcode_jax.run(replace(BASE, {**changes, "out": str(tmp_path / "named")}))
    given = fedcode_jax.run(replace(without(part), {"out": str(tmp_path / "given")}), **objects)
    same(named, given)
    if part != "dataset":
        plain = fedcode_jax.run(without(part) if part == "schedule" else BASE)
        assert figures(plain)[0] != figures(named)[0]  # it has an effect

    # The folder of the one repeats it; that of the other says what is not in it.
    again = load(tmp_path / "named" / "config.yaml")
    same(named, fedcode_jax.run(replace(again, {"out": None})))
    text = (tmp_path / "given" / "config.yaml").read_text()
    (keyword,) = objects
    assert f"{keyword}=" in text
    assert "given " in text
    incomplete = replace(from_yaml(text), {"out": None})
    with pytest.raises(ConfigError, match=rf"given in Python .*{keyword}="):
        fedcode_jax.run(incomplete)
    same(given, fedcode_jax.run(incomplete, **objects))


def test_a_plain_transformation_is_an_optimizer():
    adam = fedcode_jax.run(BASE, optimizer=optax.adam(1e-3))
    same(adam, fedcode_jax.run(BASE))
    for changes in ({"local.learning_rate": 0.1}, {"local.decay": "cosine"}):
        with pytest.raises(ConfigError, match=r"^local\.learning_rate: .* that has its own"):
            fedcode_jax.build(replace(BASE, changes), optimizer=optax.adam(1e-3))
    by_rate = replace(BASE, {"local.learning_rate": 0.1})
    same(fedcode_jax.run(by_rate, optimizer=optax.adam), fedcode_jax.run(by_rate))
    with pytest.raises(ConfigError, match=r"^optimizer: was given, .*local\.optimizer_args"):
        fedcode_jax.build(
            replace(BASE, {"local.optimizer": "sgd", "local.optimizer_args": {"momentum": 0.5}}),
            optimizer=optax.adam,
        )


ALL_NAMED = {
    name: value
    for part, (changes, _) in BOTH.items()
    if part not in ("linen", "schedule", "optimizer")
    for name, value in changes.items()
}
ALL_GIVEN = {
    keyword: value
    for part, (_, objects) in BOTH.items()
    if part not in ("linen", "schedule", "optimizer")
    for keyword, value in objects.items()
}
BARE = replace(BASE, {section: {} for section in ("data", "model", "partition", "algorithm")})


def test_everything_at_once_through_every_door(tmp_path):
    named = replace(BASE, ALL_NAMED)
    axes = {"seed": [0], "local.learning_rate": [1e-3, 1e-2]}
    runs = fedcode_jax.sweep(named, axes, out=str(tmp_path / "named")).runs
    assert [run.summary["status"] for run in runs] == ["completed"] * 2
    given = fedcode_jax.sweep(BARE, axes, out=str(tmp_path / "given"), **ALL_GIVEN).runs
    for a, b in zip(runs, given, strict=True):
        assert a.records[-1]["test_accuracy"] == b.records[-1]["test_accuracy"]
        assert a.records[-1]["test_brier"] == b.records[-1]["test_brier"]
    again = fedcode_jax.sweep(BARE, axes, out=str(tmp_path / "given"), **ALL_GIVEN)
    assert [run.summary for run in again.runs] == [run.summary for run in given]
    other = {**ALL_GIVEN, "algorithm": mine.proximal(0.25)}
    with pytest.raises(ConfigError, match="another sweep"):
        fedcode_jax.sweep(BARE, axes, out=str(tmp_path / "given"), **other)
    record = bench.measure(BARE, 1, **ALL_GIVEN)
    assert record["figures"]["median_seconds"]["round"] > 0
    assert cli.main(["report", str(tmp_path), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "table.md").read_text()
    assert "parts_of_mine:proximal" in page
    assert re.search(r"updates [0-9a-f]{8}\b", page)


def test_resuming_with_objects_and_names(tmp_path):
    for name, config, objects in (
        ("named", replace(BASE, ALL_NAMED), {}),
        ("given", BARE, ALL_GIVEN),
    ):
        whole = fedcode_jax.run(config, **objects)
        config = replace(config, {"out": str(tmp_path / name), "rounds": 2})
        fedcode_jax.run(config, **objects)
        rest = fedcode_jax.run(replace(config, {"rounds": 3}), resume=True, **objects)
        same(whole, rest)
    other = {**ALL_GIVEN, "loss": mine.focal}
    told = r"^local\.loss: 'given focal .*, there .*: not what the run"
    with pytest.raises(ConfigError, match=told):
        fedcode_jax.run(replace(config, {"rounds": 4}), resume=True, **other)


def test_an_object_stands_for_its_own_name_alone():
    """Beside it, a sweep has algorithms by name."""
    named = [{"algorithm.name": "parts_of_mine:proximal", "algorithm.mu": 0.5}]
    both = [{"seed": 0}, {"algorithm.name": "fedavg"}]
    config = replace(BASE, {"algorithm": {}})
    first, second = fedcode_jax.sweep(config, both, algorithm=mine.proximal(0.5)).runs
    assert first.config.algorithm.name.startswith("given updates ")
    (expected,) = fedcode_jax.sweep(BASE, named).runs
    (fedavg,) = fedcode_jax.sweep(BASE, [{"seed": 0}]).runs
    assert figures_of(first.records) == figures_of(expected.records)
    assert figures_of(second.records) == figures_of(fedavg.records)
    assert figures_of(first.records) != figures_of(second.records)


def test_none_is_a_value_of_ones_own_setting_and_kept():
    config = replace(BASE, {"model": {"name": "parts_of_mine:optional"}})
    assert config.model.width == 8
    none = replace(config, {"model.width": None})
    assert none.model.width is None
    for again in (replace(none, {"seed": 1}), from_yaml(to_yaml(none))):
        assert again.model.width is None


def test_text_that_looks_like_a_number_stays_text(tmp_path):
    config = replace(BASE, {"model": {"name": "parts_of_mine:optional"}, "out": "1e5"})
    for text in ("1e-3", "+1e5", "true", "null", "2020-01-01", "010"):
        same = replace(config, {"model.kind": text})
        assert from_yaml(to_yaml(same)) == same


def test_equal_settings_that_are_not_the_same_build_two_models():
    built = [
        fedcode_jax.build(
            replace(BASE, {"model": {"name": "parts_of_mine:optional"}, "model.flag": flag})
        ).program.model
        for flag in (1, True)
    ]
    assert built[0] != built[1]


def test_two_metrics_of_one_name_are_refused():
    config = replace(BASE, {"metrics": ["top5", "parts_of_mine:brier"]})
    with pytest.raises(ConfigError, match=r"^metrics: 'top5' occurs twice"):
        fedcode_jax.build(config, metrics={"top5": mine.brier})


def test_parameters_that_a_section_has_itself_are_refused():
    for name in ("schedule.name", "data.name"):
        factory = name.replace(".name", "_with_a_reserved_parameter")
        with pytest.raises(ConfigError, match=r"without a parameter .*; rename it"):
            replace(BASE, {name: f"parts_of_mine:{factory}"})


def test_data_that_follow_the_seed_in_size_are_groups_of_their_own():
    runs = fedcode_jax.sweep(
        replace(BASE, {"data.name": "parts_of_mine:growing_data"}), {"seed": [0, 1]}
    ).runs
    assert [run.summary["status"] for run in runs] == ["completed"] * 2


def test_an_object_that_no_experiment_has_is_refused():
    axes = {"model.name": ["mlp", "cnn"]}
    with pytest.raises(ConfigError, match=r"^model: was given, and no experiment has it"):
        fedcode_jax.sweep(replace(BASE, {"model": {}}), axes, model=mine.Tiny(3))


def test_a_refused_learning_rate_is_that_of_its_row():
    rates = {"local.learning_rate": [1e-3, 0.1, 0.2]}
    runs = fedcode_jax.sweep(BASE, rates, optimizer=optax.adam(1e-3)).runs
    assert [run.summary["status"] for run in runs] == ["completed", "failed", "failed"]
    assert "local.learning_rate: 0.2" in runs[2].summary["error"]


def test_help_is_shown_before_all_is_given(capsys):
    for words in ("--network.name table", "--model.name parts_of_mine:without_default"):
        assert cli.main(["run", *words.split(), "--help"]) == 0
        assert "usage: fedcode run" in capsys.readouterr().out
    assert cli.main(["run", "--network.name", "table"]) == 2
    assert "network.table: is not set; name the CSV" in capsys.readouterr().err


def test_an_algorithm_of_ones_own_is_one_of_the_choices_of_advice():
    config = replace(BASE, {"rounds": 40, **BOTH["algorithm"][0]})
    own, *others = advice.choices(config)
    assert (str(own), own.settings) == ("parts_of_mine:proximal", {})
    assert {choice.algorithm for choice in others} == {"fedcode", "skip"}
    for choice in (advice.yardstick(config), *others):
        assert replace(config, choice.settings).algorithm.name == choice.algorithm


@pytest.mark.slow
def test_advice_on_an_algorithm_of_ones_own(tmp_path):
    config = replace(
        BASE, {"rounds": 4, **BOTH["algorithm"][0], "model.name": "parts_of_mine:Tiny"}
    )
    answer = advice.advise(config, floor=advice.Floor(loss=0.9), seeds=3)
    tried = [str(each.choice) for each in answer.estimates]
    assert "parts_of_mine:proximal" in tried
    assert "FedAvg" in tried
    assert any(each.startswith("FedCode") for each in tried)


WRONG = {
    "--algorithm.name fedavg --algorithm.num-clusters 8": "algorithm.num_clusters: '8' has no use",
    "--algorithm.name parts_of_mine:proximal --algorithm.num-clusters 8": "which has mu",
    "--algorithm.name parts_of_mine:proximal --algorithm.mux 8": "Did you mean algorithm.mu?",
    "--algorithm.name parts_of_mine:proximal --algorithm.mu high": "algorithm.mu: 'high' cannot be",
    "--algorithm.name parts_of_mine:not_an_algorithm": "gives dict; it must give a",
    "--algorithm.name parts_of_mine:proximall": "Did you mean 'proximal'?",
    "--algorithm.name parts_of_mine:NUMBER": "must be a factory; it is int",
    "--algorithm.name nowhere:proximal": "there is no module 'nowhere'",
    "--model.name parts_of_mine:broken": "model.name: parts_of_mine:broken raised ValueError: no",
    "--model.name parts_of_mine:narrow": "it must give logits float32[3, 10]",
    "--model.name parts_of_mine:Counting": "has the collections counters",
    "--model.name parts_of_mine:without_default": "model.depth: is not set",
    "--model.name parts_of_mine:without_default --model.depth x": "model: init it with samples",
    "--model.name parts_of_mine:not_a_model": "is no flax module",
    "--model.name parts_of_mine:Tiny --model.width wide": "model.width: 'wide' cannot be used",
    "--model.name parts_of_mine:Tiny --model.norm batch": "model.norm: 'batch' has no use",
    "--model.name parts_of_mine:Tiny --local.fix-norm-after 2": "local.fix_norm_after: 2",
    "--data.name parts_of_mine:gap": "no training sample is of class '1'",
    "--data.name parts_of_mine:Tiny": "data.num_classes: is not set",
    "--data.name parts_of_mine:not_an_algorithm": "lacks train_x",
    "--partition.name parts_of_mine:lost_rows": "client 1 has no samples",
    "--local.loss parts_of_mine:sum_loss": "local.loss: gives float32[] for 3 samples",
    "--local.loss parts_of_mine:focal --local.loss-args gama=1": "gama is no argument",
    "--local.loss cross_entropie": "Did you mean 'cross_entropy'?",
    "--local.optimizer parts_of_mine:momentum --local.optimizer-args bta=1": "local.optimizer_args",
    "--local.optimizer parts_of_mine:brier": "local.optimizer",
    "--local.augment parts_of_mine:brier": "local.augment",
    "--schedule.name parts_of_mine:branching": "do not branch on it",
    "--schedule.name parts_of_mine:short --algorithm.name fedavg": "its rule raises TypeError",
    "--local.loss parts_of_mine:make_focal": "the function of logits and labels itself",
    "--local.optimizer parts_of_mine:growing": "growing cannot be used: ValueError: Incompatible",
    "--local.optimizer parts_of_mine:rateless --local.learning-rate 0.5": "has no use with",
    "--model.name parts_of_mine.Tiny": "or module:factory, one of your own",
    "--metrics parts_of_mine:NUMBER": "metrics",
    "--metrics top6": "Did you mean 'top5'?",
    "--schedule.name parts_of_mine:slow": "schedule.name: parts_of_mine:slow gives Network",
    "--network.name parts_of_mine:not_an_algorithm": "parts_of_mine:not_an_algorithm gives dict",
    "--network.name parts_of_mine:every_third": "network.rounds: is not set",
    "--network.name parts_of_mine:slow --network.rate -1": "network.uplink_mbit",
}


@pytest.mark.parametrize("words", list(WRONG))
def test_a_wrong_setting_is_one_line_before_anything_compiles(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def compiled(*_, **__):
        raise AssertionError("a segment was compiled")

    monkeypatch.setattr("fedcode_jax.simulation.program.Program.advance", compiled)
    assert cli.main(["run", "--rounds", "2", *words.split()]) == 2
    err = capsys.readouterr().err
    assert err.startswith("fedcode: error: ")
    assert WRONG[words] in err
    assert err.count("\n") == 1
    assert not list(Path().rglob("metrics.jsonl"))


@pytest.mark.parametrize(
    ("objects", "error", "says"),
    [
        ({"model": 3}, ConfigError, "model: .* is no flax module"),
        ({"modle": 3}, TypeError, "no part 'modle'"),
        ({"algorithm": {}}, ConfigError, "algorithm: 'dict' cannot be used"),
        ({"dataset": 3}, DataError, "int is no data set"),
        ({"dataset": {"train_x": 3}}, DataError, "lacks train_y"),
        ({"dataset": as_dataset(mine.arrays(0)), "model": mine.Tiny(4)}, ConfigError, "3 samples"),
        ({"partition": [[0, 1], [10**6]]}, ConfigError, "client 1 has row 1000000"),
        ({"partition": 3}, ConfigError, "partition: int is no partition"),
        ({"metrics": {1: mine.brier}}, ConfigError, "metrics: 'dict' cannot be used"),
        ({"metrics": [mine.brier]}, ConfigError, "metrics: 'list' cannot be used; .* a mapping"),
        ({"optimizer": "sgd"}, ConfigError, "local.optimizer: str cannot be used"),
        ({"optimizer": lambda: optax.sgd(0.1)}, ConfigError, "local.optimizer: the one given"),
        ({"optimizer": mine.growing}, ConfigError, "cannot be used: ValueError: Incompatible"),
        ({"loss": mine.sum_loss}, ConfigError, "local.loss: gives"),
        ({"metrics": {"accuracy": mine.brier}}, ConfigError, "is reported in any case"),
        ({"schedule": 3}, ConfigError, "schedule: 'int' cannot be used"),
        ({"network": 3}, ConfigError, "network: .* gives int"),
    ],
)
def test_a_wrong_object_is_one_line(objects, error, says):
    names = {} if "dataset" in objects else {"data.name": "parts_of_mine:arrays"}
    names |= {} if "model" in objects else {"model.name": "mlp"}
    base = replace(BARE, names)
    with pytest.raises(error, match=says) as caught:
        fedcode_jax.build(base, **objects)
    assert "\n" not in str(caught.value)


def test_an_object_and_settings_of_the_same_part_are_too_much():
    with pytest.raises(
        ConfigError, match=r"^model: was given, and the config has model\.hidden of 'mlp'"
    ):
        fedcode_jax.build(BASE, model=mine.Tiny(3))
    config = fedcode_jax.build(BARE, dataset=mine.arrays(0), model=mine.Tiny(3)).config
    with pytest.raises(ConfigError, match=r"^model: Tiny \w+ is not Tiny \w+, with which"):
        fedcode_jax.build(config, dataset=mine.arrays(0), model=mine.Tiny(3, width=9))


def test_a_module_beside_the_run_is_found(tmp_path):
    """In a process of its own, since the module is imported."""
    import subprocess
    import sys

    (tmp_path / "beside.py").write_text(Path(mine.__file__).read_text())
    words = "--model.name beside:Tiny --algorithm.name beside:proximal --data.name beside:arrays"
    command = [sys.executable, "-m", "fedcode_jax.cli", "run", "--rounds", "1", *words.split()]
    code = "import sys; from fedcode_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *command[3:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "beside-proximal-beside-arrays"
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
