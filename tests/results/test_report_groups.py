"""Which runs a report finds, and which of them are one method."""

import shutil

import pytest

from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results.report import find, group, read_run

K = "algorithm.num_clusters"
CIFAR = {"data.name": "cifar10"}


def groups_of(paths, by=()):
    return group([read_run(path) for path in paths], by)


def labels(paths, by=()):
    return [each.label for each in groups_of(paths, by)]


def test_runs_are_found_at_any_depth_in_order_and_once(make_run, tmp_path):
    runs = tmp_path / "runs"
    for name in ("k16", "k8", "sweep/runs/0001", "sweep/runs/0000"):
        make_run(name, [0.5])
    (runs / "sweep" / "config.yaml").write_text("rounds: 1\n")  # the sweep's own
    (runs / "k8" / "checkpoints" / "round_1").mkdir(parents=True)
    (runs / "empty").mkdir()
    shown = [str(path.relative_to(runs)) for path in find([runs, runs / "k8"])]
    assert shown == ["k8", "k16", "sweep/runs/0000", "sweep/runs/0001"]
    assert find([runs / "sweep", runs / "k8", runs])[2] == runs / "k8"


def test_a_run_inside_the_folder_of_another_is_found(make_run, tmp_path):
    make_run("outer", [0.5])
    make_run("outer/inner", [0.5])
    assert len(find([tmp_path])) == 2


def test_folders_without_runs_say_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="none was given; name run folders"):
        find([])
    with pytest.raises(ConfigError, match=r"there is no run in .*'fedcode run --out' wrote"):
        find([tmp_path])
    with pytest.raises(ConfigError, match="'nowhere' does not exist"):
        find(["nowhere"])
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not a folder"):
        find([tmp_path / "file"])


def test_what_a_logger_writes_in_the_folder_of_a_run_is_no_run(make_run):
    path = make_run("a", [0.5])
    files = path / "wandb" / "run-1" / "files"
    files.mkdir(parents=True)
    (files / "config.yaml").write_text("seed: {value: 0}\n")
    assert find([path.parent]) == [path]


def test_seeds_and_what_has_no_effect_do_not_part_runs(make_run):
    paths = [
        make_run("a", [0.5], seed=1, settings=CIFAR),
        make_run("b", [0.5], seed=0, settings={"execution.chunk": 4, **CIFAR}),
        make_run(
            "c",
            [0.5],
            seed=2,
            settings={
                "checkpoint_every": 1,
                "log": ["wandb"],
                "evaluate_clients": True,
                "data.dir": "elsewhere",
                **CIFAR,
            },
        ),
    ]
    (one,) = groups_of(paths)
    assert one.label == "fedcode"
    assert [run.settings["seed"] for run in one.runs] == [0, 1, 2]
    assert one.pooled == ()


def test_precision_parts_runs_since_it_changes_the_result(make_run):
    paths = [make_run("a", [0.5]), make_run("b", [0.5], settings={"execution.precision": "tf32"})]
    assert labels(paths) == ["precision=float32", "precision=tf32"]


def test_labels_name_what_differs(make_run):
    paths = [
        make_run("a", [0.5], settings={K: 8, "partition.name": "dirichlet"}),
        make_run("b", [0.5], settings={K: 16, "model.norm": "group"}),
        make_run("c", [0.5], settings={"algorithm.name": "fedavg"}),
        make_run("d", [0.5], settings={"algorithm.name": "skip", "local.learning_rate": 0.1}),
    ]
    assert labels(paths) == [
        "fedcode dirichlet norm=none num_clusters=8",
        "fedcode iid norm=group num_clusters=16",
        "fedavg",
        "skip learning_rate=0.1",
    ]


def test_equal_numbers_written_differently_are_equal(make_run):
    paths = [
        make_run("a", [0.5], seed=0, settings={"network.uplink_mbit": 1}),
        make_run("b", [0.5], seed=1, settings={"network.uplink_mbit": 1.0}),
        make_run("c", [0.5], seed=0, settings={"network.uplink_mbit": 2}),
    ]
    assert [len(each.runs) for each in groups_of(paths)] == [2, 1]


def test_by_chooses_settings_and_says_what_it_pools(make_run):
    paths = [
        make_run("a", [0.5], settings={K: 8, "schedule.client_period": 1}),
        make_run("b", [0.5], settings={K: 16, "schedule.client_period": 1}),
        make_run("c", [0.5], settings={K: 16, "schedule.client_period": 3}),
    ]
    assert labels(paths, ["client-period"]) == ["client_period=1", "client_period=3"]
    first, second = groups_of(paths, ["schedule.client_period"])
    assert (first.pooled, second.pooled) == ((K,), ())
    assert labels(paths, ["algorithm.name", K]) == [
        "fedcode num_clusters=8",
        "fedcode num_clusters=16",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("client_perio", "no setting 'client_perio'; write a name such as client_period"),
        ("name", "'name' could be data.name or partition.name"),
    ],
)
def test_by_must_be_a_setting(make_run, name, message):
    with pytest.raises(ConfigError, match=message):
        groups_of([make_run("a", [0.5])], [name])


def test_the_same_experiment_and_seed_twice_is_refused(make_run, tmp_path):
    path = make_run("a", [0.5], seed=3)
    shutil.copytree(path, tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"copy.*/a' hold the same .* seed, 3; leave one"):
        groups_of([path, tmp_path / "copy"])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("metrics.jsonl", "no json\n", "metrics.jsonl, line 1: is not a record"),
        ("metrics.jsonl", '{"x": 1}\n', "metrics.jsonl, line 1: is not a record"),
        ("metrics.jsonl", "", "has 0 rounds, but summary.json says 1"),
        ("metrics.jsonl", None, "metrics.jsonl: cannot be read"),
        ("config.yaml", None, "config.yaml: cannot be read"),
        ("summary.json", "{", "holds a damaged file"),
        ("summary.json", "[1]", "it holds no figures"),
        ("evaluation.json", "{", "evaluation.json: is damaged"),
        ("evaluation.json", "[1]", "evaluation.json: does not hold"),
    ],
)
def test_damaged_folders(make_run, tmp_path, file, text, message):
    path = make_run("a", [0.5])
    if text is None:
        (path / file).unlink()
    else:
        (path / file).write_text(text)
    (found,) = find([tmp_path])
    with pytest.raises(CheckpointError, match=message):
        read_run(found)


def test_a_config_alone_is_a_damaged_run(make_run, tmp_path):
    path = make_run("a", [0.5])
    for name in ("metrics.jsonl", "summary.json"):
        (path / name).unlink()
    (found,) = find([tmp_path])
    with pytest.raises(CheckpointError, match=r"metrics.jsonl: cannot be read"):
        read_run(found)


def test_an_unknown_setting_is_a_config_error_with_the_file(make_run):
    path = make_run("a", [0.5])
    (path / "config.yaml").write_text("round: 3\n")
    with pytest.raises(ConfigError, match=r"config.yaml: round: there is no such setting"):
        read_run(path)
